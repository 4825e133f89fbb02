//! Conditions of rules: a small language over documented metrics, such as `errors / events_in > 0.01`.
//!
//! Numbers, metrics, `+ - * /`, comparisons, `and`, `or` and parentheses. An error has its column. Nothing divided by
//! nothing is 0: a pipeline without events has no errors either.

use std::fmt;

/// What an expression may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Metric {
    EventsIn,
    EventsOut,
    Errors,
    Discarded,
    BytesIn,
    BytesOut,
    LogsDropped,
    Resets,
    Gaps,
    Samples,
    Utilization,
    LatencyMs,
    BufferFill,
    Cpu,
    Memory,
    Disk,
    Load1,
    Load5,
    Load15,
}

/// The subject that a metric is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MetricOf {
    Pipeline,
    Host,
}

impl Metric {
    const ALL: [(&'static str, Metric, MetricOf); 19] = [
        ("events_in", Metric::EventsIn, MetricOf::Pipeline),
        ("events_out", Metric::EventsOut, MetricOf::Pipeline),
        ("errors", Metric::Errors, MetricOf::Pipeline),
        ("discarded", Metric::Discarded, MetricOf::Pipeline),
        ("bytes_in", Metric::BytesIn, MetricOf::Pipeline),
        ("bytes_out", Metric::BytesOut, MetricOf::Pipeline),
        ("logs_dropped", Metric::LogsDropped, MetricOf::Pipeline),
        ("resets", Metric::Resets, MetricOf::Pipeline),
        ("gaps", Metric::Gaps, MetricOf::Pipeline),
        ("samples", Metric::Samples, MetricOf::Pipeline),
        ("utilization", Metric::Utilization, MetricOf::Pipeline),
        ("latency_ms", Metric::LatencyMs, MetricOf::Pipeline),
        ("buffer_fill", Metric::BufferFill, MetricOf::Pipeline),
        ("cpu", Metric::Cpu, MetricOf::Host),
        ("memory", Metric::Memory, MetricOf::Host),
        ("disk", Metric::Disk, MetricOf::Host),
        ("load1", Metric::Load1, MetricOf::Host),
        ("load5", Metric::Load5, MetricOf::Host),
        ("load15", Metric::Load15, MetricOf::Host),
    ];
}

/// A condition over metrics.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Expression {
    text: String,
    condition: Condition,
}

#[derive(Clone, Debug, PartialEq)]
enum Condition {
    Compare(Value, Comparison, Value),
    And(Box<Condition>, Box<Condition>),
    Or(Box<Condition>, Box<Condition>),
}

#[derive(Clone, Debug, PartialEq)]
enum Value {
    Number(f64),
    Metric(Metric),
    Binary(Box<Value>, Operator, Box<Value>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Above,
    AtLeast,
    Below,
    AtMost,
    Equal,
    NotEqual,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
}

/// What an expression says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Judgement {
    pub holds: bool,
    /// The left side of the comparison that decided.
    pub value: f64,
}

/// A fault in an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExpressionFault {
    /// From 1.
    pub column: usize,
    pub detail: String,
}

impl fmt::Display for ExpressionFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "column {}: {}", self.column, self.detail)
    }
}

impl Expression {
    /// Reads an expression over metrics of one kind of subject.
    pub(crate) fn parse(text: &str, of: MetricOf) -> Result<Self, ExpressionFault> {
        let tokens = tokens(text)?;
        let mut parser = Parser { tokens: &tokens, next: 0, of, end: text.chars().count() + 1, depth: 0 };
        let condition = parser.any()?;
        match parser.peek() {
            None => Ok(Expression { text: text.trim().to_owned(), condition }),
            Some(_) => Err(parser.fault("expected `and`, `or` or the end")),
        }
    }

    /// Evaluates it. `None` when a metric that it needs is not known.
    pub(crate) fn evaluate(&self, metric: &dyn Fn(Metric) -> Option<f64>) -> Option<Judgement> {
        self.condition.evaluate(metric)
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Condition {
    fn evaluate(&self, metric: &dyn Fn(Metric) -> Option<f64>) -> Option<Judgement> {
        match self {
            Condition::Compare(left, comparison, right) => {
                let (left, right) = (left.evaluate(metric)?, right.evaluate(metric)?);
                Some(Judgement { holds: comparison.holds(left, right), value: left })
            }
            Condition::And(left, right) => match (left.evaluate(metric), right.evaluate(metric)) {
                (Some(no), _) | (_, Some(no)) if !no.holds => Some(no),
                (left, right) => left.and(right).and(left),
            },
            Condition::Or(left, right) => match (left.evaluate(metric), right.evaluate(metric)) {
                (Some(yes), _) | (_, Some(yes)) if yes.holds => Some(yes),
                (left, right) => left.and(right).and(left),
            },
        }
    }
}

impl Value {
    fn evaluate(&self, metric: &dyn Fn(Metric) -> Option<f64>) -> Option<f64> {
        match self {
            Value::Number(number) => Some(*number),
            Value::Metric(name) => metric(*name),
            Value::Binary(left, operator, right) => {
                let (left, right) = (left.evaluate(metric)?, right.evaluate(metric)?);
                Some(match operator {
                    Operator::Add => left + right,
                    Operator::Subtract => left - right,
                    Operator::Multiply => left * right,
                    Operator::Divide if left == 0.0 => 0.0,
                    Operator::Divide => left / right,
                })
            }
        }
    }
}

impl Comparison {
    fn holds(self, left: f64, right: f64) -> bool {
        match self {
            Comparison::Above => left > right,
            Comparison::AtLeast => left >= right,
            Comparison::Below => left < right,
            Comparison::AtMost => left <= right,
            Comparison::Equal => left == right,
            Comparison::NotEqual => left != right,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Number(f64),
    Name(String),
    Sign(&'static str),
}

const SIGNS: [&str; 12] = [">=", "<=", "==", "!=", ">", "<", "+", "-", "*", "/", "(", ")"];

/// Tokens with their columns.
fn tokens(text: &str) -> Result<Vec<(usize, Token)>, ExpressionFault> {
    let chars: Vec<char> = text.chars().collect();
    let mut found = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        let c = chars[at];
        let column = at + 1;
        let run = |of: &dyn Fn(char) -> bool| chars[at..].iter().take_while(|c| of(**c)).count();
        if c.is_whitespace() {
            at += 1;
        } else if c.is_ascii_digit() || c == '.' {
            let length = run(&|c| c.is_ascii_digit() || c == '.');
            let digits: String = chars[at..at + length].iter().collect();
            let fault = || ExpressionFault { column, detail: format!("{digits:?} is no number") };
            let mut number: f64 = digits.parse().map_err(|_| fault())?;
            at += length;
            if chars.get(at) == Some(&'%') {
                number /= 100.0;
                at += 1;
            }
            found.push((column, Token::Number(number)));
        } else if c.is_ascii_alphabetic() || c == '_' {
            let length = run(&|c| c.is_ascii_alphanumeric() || c == '_');
            found.push((column, Token::Name(chars[at..at + length].iter().collect())));
            at += length;
        } else {
            let starts = |sign: &&&str| sign.chars().enumerate().all(|(offset, c)| chars.get(at + offset) == Some(&c));
            let Some(sign) = SIGNS.iter().find(starts) else {
                return Err(ExpressionFault { column, detail: format!("unexpected character {c:?}") });
            };
            found.push((column, Token::Sign(sign)));
            at += sign.len();
        }
    }
    Ok(found)
}

/// Parentheses within each other.
const MAX_DEPTH: usize = 32;

struct Parser<'a> {
    tokens: &'a [(usize, Token)],
    next: usize,
    of: MetricOf,
    /// The column after the end.
    end: usize,
    depth: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next).map(|(_, token)| token)
    }

    fn fault(&self, detail: impl Into<String>) -> ExpressionFault {
        let column = self.tokens.get(self.next).map_or(self.end, |(column, _)| *column);
        ExpressionFault { column, detail: detail.into() }
    }

    fn take(&mut self, sign: &str) -> bool {
        let is_next = matches!(self.peek(), Some(Token::Sign(next)) if *next == sign);
        self.next += usize::from(is_next);
        is_next
    }

    fn take_word(&mut self, word: &str) -> bool {
        let is_next = matches!(self.peek(), Some(Token::Name(next)) if next.eq_ignore_ascii_case(word));
        self.next += usize::from(is_next);
        is_next
    }

    fn any(&mut self) -> Result<Condition, ExpressionFault> {
        let mut condition = self.all()?;
        while self.take_word("or") {
            condition = Condition::Or(Box::new(condition), Box::new(self.all()?));
        }
        Ok(condition)
    }

    fn all(&mut self) -> Result<Condition, ExpressionFault> {
        let mut condition = self.comparison()?;
        while self.take_word("and") {
            condition = Condition::And(Box::new(condition), Box::new(self.comparison()?));
        }
        Ok(condition)
    }

    /// A comparison, or a condition in parentheses. A parenthesis may also begin the left side of a comparison.
    fn comparison(&mut self) -> Result<Condition, ExpressionFault> {
        if matches!(self.peek(), Some(Token::Sign("("))) {
            let begin = self.next;
            self.next += 1;
            self.enter()?;
            let inner = self.any();
            self.depth -= 1;
            if let Ok(condition) = inner
                && self.take(")")
            {
                return Ok(condition);
            }
            self.next = begin;
        }
        let left = self.sum()?;
        let comparison = match self.peek() {
            Some(Token::Sign(">")) => Comparison::Above,
            Some(Token::Sign(">=")) => Comparison::AtLeast,
            Some(Token::Sign("<")) => Comparison::Below,
            Some(Token::Sign("<=")) => Comparison::AtMost,
            Some(Token::Sign("==")) => Comparison::Equal,
            Some(Token::Sign("!=")) => Comparison::NotEqual,
            _ => return Err(self.fault("expected a comparison: >, >=, <, <=, == or !=")),
        };
        self.next += 1;
        Ok(Condition::Compare(left, comparison, self.sum()?))
    }

    fn sum(&mut self) -> Result<Value, ExpressionFault> {
        let mut value = self.product()?;
        loop {
            let operator = match self.peek() {
                Some(Token::Sign("+")) => Operator::Add,
                Some(Token::Sign("-")) => Operator::Subtract,
                _ => return Ok(value),
            };
            self.next += 1;
            value = Value::Binary(Box::new(value), operator, Box::new(self.product()?));
        }
    }

    fn product(&mut self) -> Result<Value, ExpressionFault> {
        let mut value = self.value()?;
        loop {
            let operator = match self.peek() {
                Some(Token::Sign("*")) => Operator::Multiply,
                Some(Token::Sign("/")) => Operator::Divide,
                _ => return Ok(value),
            };
            self.next += 1;
            value = Value::Binary(Box::new(value), operator, Box::new(self.value()?));
        }
    }

    fn value(&mut self) -> Result<Value, ExpressionFault> {
        match self.peek().cloned() {
            Some(Token::Number(number)) => {
                self.next += 1;
                Ok(Value::Number(number))
            }
            Some(Token::Name(name)) => {
                let of_this = || Metric::ALL.iter().filter(|(_, _, of)| *of == self.of);
                let Some((_, metric, _)) = of_this().find(|(known, ..)| *known == name) else {
                    let known: Vec<_> = of_this().map(|(known, ..)| *known).collect();
                    return Err(self.fault(format!("unknown metric {name:?}, expected one of {}", known.join(", "))));
                };
                self.next += 1;
                Ok(Value::Metric(*metric))
            }
            Some(Token::Sign("-")) => {
                self.next += 1;
                self.enter()?;
                let value = self.value()?;
                self.depth -= 1;
                Ok(Value::Binary(Box::new(Value::Number(0.0)), Operator::Subtract, Box::new(value)))
            }
            Some(Token::Sign("(")) => {
                self.next += 1;
                self.enter()?;
                let value = self.sum()?;
                self.depth -= 1;
                if self.take(")") { Ok(value) } else { Err(self.fault("expected `)`")) }
            }
            _ => Err(self.fault("expected a number, a metric or `(`")),
        }
    }

    fn enter(&mut self) -> Result<(), ExpressionFault> {
        self.depth += 1;
        if self.depth > MAX_DEPTH { Err(self.fault("too many parentheses within each other")) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn judged(text: &str) -> Option<(bool, f64)> {
        let metric = |metric| match metric {
            Metric::Errors => Some(3.0),
            Metric::EventsIn => Some(100.0),
            Metric::EventsOut => Some(0.0),
            _ => None,
        };
        let found = Expression::parse(text, MetricOf::Pipeline).unwrap().evaluate(&metric);
        found.map(|found| (found.holds, found.value))
    }

    #[test]
    fn expressions_follow_the_usual_precedence() {
        assert_eq!(judged("errors / events_in > 0.01"), Some((true, 0.03)));
        assert_eq!(judged("errors/events_in>5%"), Some((false, 0.03)));
        assert_eq!(judged("1 + 2 * 3 == 7"), Some((true, 7.0)));
        assert_eq!(judged("(1 + 2) * 3 == 9 and errors >= 3"), Some((true, 9.0)));
        assert_eq!(judged("(errors > 5 or events_in > 99) and events_out <= 0"), Some((true, 100.0)));
        assert_eq!(judged("-errors < 0"), Some((true, -3.0)));
        assert_eq!(judged("events_out / events_out > 0"), Some((false, 0.0)), "nothing of nothing is nothing");
    }

    #[test]
    fn unknown_metric_is_neither_true_nor_false_unless_the_other_side_decides() {
        assert_eq!(judged("latency_ms > 1"), None);
        assert_eq!(judged("latency_ms > 1 or errors > 1"), Some((true, 3.0)));
        assert_eq!(judged("latency_ms > 1 and errors > 5"), Some((false, 3.0)));
        assert_eq!(judged("latency_ms > 1 and errors > 1"), None);
    }

    #[test]
    fn faults_have_their_column() {
        let fault = |text: &str| Expression::parse(text, MetricOf::Pipeline).unwrap_err();
        assert_eq!((fault("errors > ").column, fault("errors").column), (10, 7));
        let unknown = fault("errors / evnts_in > 0.01");
        assert_eq!(unknown.column, 10);
        assert!(unknown.detail.contains("events_in"), "{}", unknown.detail);
        assert_eq!(fault("errors > 1 $").column, 12);
        assert_eq!(fault("errors > 1 errors").column, 12);
        assert_eq!(fault("(errors > 1").column, 9);
        assert_eq!(fault("cpu > 1").column, 1, "it is of a host");
        assert!(Expression::parse("cpu > 90% and memory > .5", MetricOf::Host).is_ok());
        assert!(fault(&"(".repeat(10_000)).detail.contains("parentheses"));
    }

    proptest! {
        #[test]
        fn any_text_is_an_expression_or_a_fault_within_it(text in "[a-z_0-9.%()<>=!+*/ -]{0,40}") {
            if let Err(fault) = Expression::parse(&text, MetricOf::Pipeline) {
                prop_assert!((1..=text.len() + 1).contains(&fault.column));
            }
        }
    }
}
