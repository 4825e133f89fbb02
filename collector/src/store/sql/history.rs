//! The SQL of minutes, hours and days, shared by both databases.
//!
//! An hour of a node that is marked as dirty is read from its minutes, and a dirty day from its
//! hours, so that an answer is the sum over minutes whether or not everything is summed yet. What is
//! before `oldest_hour` (`oldest_day`) is never taken from its parts: some of them are expired.

mod extremes;

use self::extremes::end_of_parts;
pub(in crate::store) use self::extremes::extremes;
use crate::model::Resolution;
use crate::model::counters::{COMPONENT_COUNTERS, CounterKind, PIPELINE_COUNTERS};
use crate::store::level::Level;

/// The databases' ways of saying the same. Parameters are `$1` in both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Dialect {
    /// With sums that fail when they are beyond 2^63-1.
    Sqlite,
    /// With sums in floating point up to 2^63-1, for those that are beyond any sense.
    SqliteSaturating,
    Postgres,
}

/// The subject of a history: pipelines or components.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Subject {
    Pipeline,
    Component,
}

impl Subject {
    pub(in crate::store) fn name(self) -> &'static str {
        match self {
            Subject::Pipeline => "pipeline",
            Subject::Component => "component",
        }
    }

    /// A condition of `series`.
    fn is_component(self) -> &'static str {
        match self {
            Subject::Pipeline => "component = ''",
            Subject::Component => "component <> ''",
        }
    }

    fn columns(self, is_wanted: impl Fn(CounterKind) -> bool) -> Vec<&'static str> {
        let counters = match self {
            Subject::Pipeline => PIPELINE_COUNTERS,
            Subject::Component => COMPONENT_COUNTERS,
        };
        counters.iter().filter(|(_, kind)| is_wanted(*kind)).map(|(name, _)| *name).collect()
    }

    fn counters(self) -> Vec<&'static str> {
        self.columns(CounterKind::is_counted)
    }

    /// Sums and weights of means.
    fn means(self) -> Vec<&'static str> {
        self.columns(|kind| kind == CounterKind::Mean)
    }

    /// Counters of which hours and days keep the extremes of their minutes.
    fn extremes(self) -> Vec<&'static str> {
        self.columns(CounterKind::has_extremes)
    }

    /// Gauges of which an hour keeps the highest.
    fn highest(self) -> Vec<&'static str> {
        self.columns(|kind| kind == CounterKind::Gauge)
    }
}

impl Dialect {
    /// The text as this database takes it.
    pub(in crate::store) fn finish(self, sql: String) -> String {
        if self == Dialect::Postgres { sql } else { sql.replace('$', "?") }
    }

    /// A list of numbers, as a text in a parameter.
    pub(in crate::store) fn list(self, numbers: &[i64]) -> String {
        let list = numbers.iter().map(i64::to_string).collect::<Vec<_>>().join(",");
        if self == Dialect::Postgres { format!("{{{list}}}") } else { format!("[{list}]") }
    }

    /// The `value`s of such a list as rows of a table.
    pub(in crate::store) fn numbers_of(self, list: &str, table: &str) -> String {
        if self == Dialect::Postgres {
            format!("unnest({list}::bigint[]) AS {table} (value)")
        } else {
            format!("json_each({list}) AS {table}")
        }
    }

    /// A sum of counters; null when none is known.
    fn sum(self, column: &str) -> String {
        const MAX: i64 = i64::MAX;
        match self {
            Dialect::Sqlite => format!("sum({column})"),
            Dialect::SqliteSaturating => {
                format!("CASE WHEN count({column}) > 0 THEN CAST(min(total({column}), {MAX}.0) AS INTEGER) END")
            }
            Dialect::Postgres => {
                format!("(CASE WHEN sum({column}) > {MAX} THEN {MAX} ELSE sum({column}) END)::bigint")
            }
        }
    }

    fn sums(self, columns: &[&str]) -> String {
        columns.iter().map(|column| format!("{} AS {column}", self.sum(column))).collect::<Vec<_>>().join(", ")
    }

    /// Numbers `n` from one (inclusive) to another (exclusive), as part of WITH RECURSIVE.
    fn numbers(self, name: &str, from: &str, to: &str) -> String {
        if self == Dialect::Postgres {
            format!("{name}(n) AS (SELECT generate_series({from}::bigint, {to}::bigint - 1))")
        } else {
            format!(
                "{name}(n) AS (SELECT {from} WHERE {from} < {to} UNION ALL SELECT n + 1 FROM {name} WHERE n + 1 < {to})"
            )
        }
    }

    /// Joins the row of a table that has this key, and begins the conditions. It uses the key: a scan would
    /// read the minutes of all series. SQLite keeps the order of CROSS JOIN; OFFSET 0 keeps PostgreSQL from
    /// another one.
    fn lookup(self, table: &str, key: (&str, &str), of: (&str, &str)) -> String {
        let ((key, at), (column, owner)) = (key, of);
        if self == Dialect::Postgres {
            format!(
                "CROSS JOIN LATERAL (SELECT * FROM {table} AS stored \
                 WHERE stored.{key} = {at} AND stored.{column} = {owner} OFFSET 0) AS rows WHERE true"
            )
        } else {
            format!("CROSS JOIN {table} AS rows WHERE rows.{key} = {at} AND rows.{column} = {owner}")
        }
    }
}

/// What has rows at a step: the table without its step, and the columns that the rows are found by.
#[derive(Clone, Copy)]
struct Source {
    table: &'static str,
    owner: &'static str,
}

impl Source {
    fn of(subject: Subject) -> Self {
        Source { table: subject.name(), owner: "series" }
    }

    const NODE: Source = Source { table: "node", owner: "node" };

    fn table(self, step: Resolution) -> String {
        format!("{}_{}s", self.table, step.as_str())
    }
}

/// Whether a step of a node is to be taken from its parts.
fn is_dirty(level: Level, at: &str) -> String {
    let (marks, key, oldest) = (level.marks(), level.target().as_str(), level.oldest());
    format!(
        "EXISTS (SELECT 1 FROM {marks} AS mark WHERE mark.{key} = {at} AND mark.node = wanted.node \
         AND mark.{key} >= (SELECT {oldest} FROM meta WHERE id = 1))"
    )
}

/// WITH, up to `found`: the rows of `wanted(id, node, component, kind)` from step $1 to before $2, each
/// `at` its step, out of the largest parts that are summed. `columns` are those of a step's table.
fn found(
    dialect: Dialect,
    step: Resolution,
    source: Source,
    wanted: &str,
    columns: impl Fn(Resolution) -> String,
) -> String {
    let mut with = vec![
        dialect.numbers("steps", "$1", "$2"),
        dialect.numbers("sixty", "0", "60"),
        dialect.numbers("hours", "0", "24"),
        format!("wanted AS MATERIALIZED ({wanted})"),
    ];
    let mut parts = Vec::new();
    let all = "wanted.id, wanted.node, wanted.component, wanted.kind";
    let whole = "FROM steps CROSS JOIN wanted";
    if step == Resolution::Day {
        let dirty = is_dirty(Level::Days, "steps.n");
        with.push(format!("day_cells AS (SELECT steps.n AS at, steps.n AS n, {all}, {dirty} AS dirty {whole})"));
        parts.push((Resolution::Day, "day_cells", "NOT cells.dirty"));
    }
    if step >= Resolution::Hour {
        with.push(if step == Resolution::Hour {
            let dirty = is_dirty(Level::Hours, "steps.n");
            format!("hour_cells AS (SELECT steps.n AS at, steps.n AS n, {all}, {dirty} AS dirty {whole})")
        } else {
            let (hour, within) = ("wanted.at * 24 + hours.n", "FROM day_cells AS wanted CROSS JOIN hours");
            let dirty = is_dirty(Level::Hours, hour);
            format!(
                "hour_cells AS (SELECT wanted.at, {hour} AS n, {all}, {dirty} AS dirty {within} WHERE wanted.dirty)"
            )
        });
        parts.push((Resolution::Hour, "hour_cells", "NOT cells.dirty"));
    }
    with.push(if step == Resolution::Minute {
        format!("minute_cells AS (SELECT steps.n AS at, steps.n AS n, {all} {whole})")
    } else {
        let within = "FROM hour_cells AS wanted CROSS JOIN sixty WHERE wanted.dirty";
        format!("minute_cells AS (SELECT wanted.at, wanted.n * 60 + sixty.n AS n, {all} {within})")
    });
    parts.push((Resolution::Minute, "minute_cells", "1 = 1"));
    let found = parts.into_iter().map(|(step, cells, condition)| {
        let rows = dialect.lookup(&source.table(step), (step.as_str(), "cells.n"), (source.owner, "cells.id"));
        let columns = columns(step);
        format!("SELECT cells.at, cells.component, cells.kind, {columns} FROM {cells} AS cells {rows} AND {condition}")
    });
    with.push(format!("found AS ({})", found.collect::<Vec<_>>().join(" UNION ALL ")));
    format!("WITH RECURSIVE {}", with.join(", "))
}

/// How full a component's buffer is, as one more column of its minutes, hours and days.
const BUFFER_FILL: &str = ", CASE \
    WHEN buffer_events IS NOT NULL AND buffer_max_events > 0 \
    THEN CAST(buffer_events AS DOUBLE PRECISION) / buffer_max_events \
    WHEN buffer_max_bytes > 0 THEN CAST(buffer_bytes AS DOUBLE PRECISION) / buffer_max_bytes END AS buffer_fill";

/// The history of pipeline $3 from step $1 to before $2, summed over nodes or of node $4.
pub(in crate::store) fn history(dialect: Dialect, subject: Subject, step: Resolution) -> String {
    let wanted = format!(
        "SELECT id, node, component, kind FROM series \
         WHERE pipeline = $3 AND {} AND ($4 IS NULL OR node = $4)",
        subject.is_component()
    );
    let columns = [subject.counters(), subject.means()].concat().join(", ");
    let (shares, highest) = match subject {
        Subject::Pipeline => ("", ""),
        Subject::Component => (BUFFER_FILL, ", max(buffer_fill) AS buffer_fill"),
    };
    let found = found(dialect, step, Source::of(subject), &wanted, |_| format!("{columns}{shares}"));
    dialect.finish(format!(
        "{found} SELECT at, component, max(kind) AS kind, {}, {}{highest} \
         FROM found GROUP BY at, component ORDER BY at, component",
        dialect.sums(&subject.counters()),
        subject.means().iter().map(|name| format!("sum({name}) AS {name}")).collect::<Vec<_>>().join(", "),
    ))
}

/// The series of pipeline $1, of all nodes or of node $2.
pub(in crate::store) fn series_of_pipeline(dialect: Dialect, subject: Subject) -> String {
    dialect.finish(format!(
        "SELECT id, node, component, kind FROM series WHERE pipeline = $1 AND {} AND ($2 IS NULL OR node = $2)",
        subject.is_component()
    ))
}

/// The history of host $3 from step $1 to before $2: spans of the largest parts, in order.
pub(in crate::store) fn node_history(dialect: Dialect, step: Resolution) -> String {
    let wanted = "SELECT $3 AS id, $3 AS node, '' AS component, '' AS kind";
    let found = found(dialect, step, Source::NODE, wanted, span_columns);
    dialect.finish(format!("{found} SELECT * FROM found ORDER BY first_minute"))
}

/// The columns of a host's span, also out of the table of minutes, which has only what was last seen.
fn span_columns(step: Resolution) -> String {
    use crate::store::host_aggregate::{ADDED, COUNTERS, EXTREMES, FIRSTS, GAUGES, WEIGHTED};
    let stored = [GAUGES.as_slice(), &COUNTERS, &FIRSTS, &WEIGHTED, &EXTREMES, &ADDED].concat().join(", ");
    if step != Resolution::Minute {
        return format!("first_minute, last_minute, {stored}");
    }
    let firsts = COUNTERS.iter().map(|name| format!("{name} AS {name}_first"));
    let sums = ["memory_used_bytes", "load_avg_1"].into_iter().flat_map(|name| {
        let known = format!("CASE WHEN {name} IS NULL THEN 0.0 ELSE 1.0 END");
        [format!("coalesce({name} * 1.0, 0.0)"), known]
    });
    let sums = sums.zip(WEIGHTED).map(|(value, name)| format!("CAST({value} AS DOUBLE PRECISION) AS {name}"));
    // One minute has no growth of its own.
    let extremes = EXTREMES.iter().map(|name| match name.rsplit_once('_').map_or(*name, |(of, _)| of) {
        of @ ("memory_used_bytes" | "load_avg_1") => format!("{of} AS {name}"),
        "cpu_utilization" => format!("CAST(NULL AS DOUBLE PRECISION) AS {name}"),
        _ => format!("CAST(NULL AS BIGINT) AS {name}"),
    });
    let derived = firsts.chain(sums).chain(extremes).collect::<Vec<_>>().join(", ");
    let same = [GAUGES.as_slice(), &COUNTERS].concat().join(", ");
    format!("minute AS first_minute, minute AS last_minute, {same}, {derived}, CAST(0 AS BIGINT) AS resets, samples")
}

/// Selects the series of a node by the node's key, not through the keys of all series: hence the sum.
pub(in crate::store) fn series_of_node(dialect: Dialect) -> String {
    dialect.finish("SELECT id FROM series WHERE node = $1 AND id + 0 > $2 ORDER BY id + 0 LIMIT $3".to_owned())
}

/// Sums one hour or day, which is $1, of the series of node $2 behind $3 up to $4, and replaces what
/// was there; or, where some of its parts are expired, leaves it.
pub(in crate::store) fn roll_up(dialect: Dialect, level: Level, subject: Subject, is_whole: bool) -> String {
    let (name, key, factor) = (subject.name(), level.target().as_str(), level.factor());
    let extremes = subject.extremes();
    let ends: Vec<_> = extremes.iter().flat_map(|column| ["min", "max"].map(|end| format!("{column}_{end}"))).collect();
    let ends = ends.iter().map(String::as_str).collect();
    let counted = [subject.counters(), subject.means(), subject.highest(), ends].concat();
    let means = subject.means().iter().map(|column| format!("sum({column})")).collect::<Vec<_>>().join(", ");
    let mut sums = vec![dialect.sums(&subject.counters()), means];
    sums.extend(subject.highest().iter().map(|column| format!("max({column})")));
    sums.extend(extremes.iter().flat_map(|column| ["min", "max"].map(|end| end_of_parts(level, end, column))));
    let conflict = if is_whole {
        let replaced = counted.iter().map(|column| format!("{column} = excluded.{column}")).collect::<Vec<_>>();
        format!("({key}, series) DO UPDATE SET {}", replaced.join(", "))
    } else {
        format!("({key}, series) DO NOTHING")
    };
    dialect.finish(format!(
        "INSERT INTO {name}_{key}s ({key}, series, {columns}) \
         WITH RECURSIVE {parts}, wanted AS MATERIALIZED (SELECT id FROM series \
         WHERE node = $2 AND id + 0 > $3 AND id + 0 <= $4 AND {is_component}) \
         SELECT $1, wanted.id, {sums} FROM wanted CROSS JOIN parts {rows} GROUP BY wanted.id ON CONFLICT {conflict}",
        columns = counted.join(", "),
        parts = dialect.numbers("parts", &format!("$1 * {factor}"), &format!("($1 + 1) * {factor}")),
        is_component = subject.is_component(),
        sums = sums.join(", "),
        rows = dialect.lookup(
            &Source::of(subject).table(level.source()),
            (level.source().as_str(), "parts.n"),
            ("series", "wanted.id"),
        ),
    ))
}

/// The spans that an hour or day, which is $1, of node $2 is made of, in order, and the one before them.
pub(in crate::store) fn node_parts(dialect: Dialect, level: Level) -> String {
    let (source, factor) = (level.source(), level.factor());
    dialect.finish(format!(
        "WITH RECURSIVE {parts} SELECT $1 - CASE WHEN parts.n < $1 * {factor} THEN 1 ELSE 0 END AS at, {columns} \
         FROM parts {rows} ORDER BY first_minute",
        parts = dialect.numbers("parts", &format!("$1 * {factor} - 1"), &format!("($1 + 1) * {factor}")),
        columns = span_columns(source),
        rows = dialect.lookup(&Source::NODE.table(source), (source.as_str(), "parts.n"), ("node", "$2")),
    ))
}

/// Writes the span of a host; or, where some of its parts are expired, leaves what is there.
pub(in crate::store) fn replace_span(dialect: Dialect, level: Level, columns: &[&str], is_whole: bool) -> String {
    let key = level.target().as_str();
    let values = (1..=columns.len() + 2).map(|number| format!("${number}")).collect::<Vec<_>>().join(", ");
    let replaced = columns.iter().map(|column| format!("{column} = excluded.{column}")).collect::<Vec<_>>().join(", ");
    let conflict = if is_whole { format!("DO UPDATE SET {replaced}") } else { "DO NOTHING".to_owned() };
    dialect.finish(format!(
        "INSERT INTO node_{key}s ({key}, node, {}) VALUES ({values}) ON CONFLICT ({key}, node) {conflict}",
        columns.join(", "),
    ))
}

/// The first and the last step in which a table of these has rows: an answer is never longer.
pub(in crate::store) fn ends(table: &str, step: Resolution) -> String {
    let parts = Resolution::ALL.into_iter().filter(|part| *part <= step).map(|part| {
        let (key, factor) = (part.as_str(), step.minutes() / part.minutes());
        // Two sub-selects, because SQLite answers each from an end of the key.
        format!(
            "SELECT (SELECT min({key}) FROM {table}_{key}s) / {factor} AS first, \
             (SELECT max({key}) FROM {table}_{key}s) / {factor} AS last"
        )
    });
    parts.collect::<Vec<_>>().join(" UNION ALL ")
}

/// The oldest hour (or, where no hour is due, day) before $1 (before $2) that is marked.
pub(in crate::store) fn next_mark(dialect: Dialect, level: Level) -> String {
    let (marks, key, oldest) = (level.marks(), level.target().as_str(), level.oldest());
    dialect.finish(format!(
        "SELECT {key} AS at, node, done, {key} >= (SELECT {oldest} FROM meta WHERE id = 1) AS is_whole \
         FROM {marks} WHERE {key} < $1 ORDER BY {key}, node LIMIT 1"
    ))
}

/// Tables without their steps.
pub(in crate::store) const SUBJECTS: [&str; 3] = ["pipeline", "component", "node"];

/// Notes from where on all minutes (hours) of an hour (day) are kept, when those before $1 go. What is
/// marked is still to be summed, and keeps what is behind it, too.
pub(in crate::store) fn oldest_whole(dialect: Dialect, level: Level) -> String {
    let (oldest, marks, key, factor) = (level.oldest(), level.marks(), level.target().as_str(), level.factor());
    let least = if dialect == Dialect::Postgres { "least" } else { "min" };
    let end = format!("($1 + {factor} - 1) / {factor}");
    let whole = format!("{least}({end}, coalesce((SELECT min({key}) FROM {marks}), {end}))");
    dialect.finish(format!("UPDATE meta SET {oldest} = {whole} WHERE id = 1 AND {oldest} < {whole}"))
}

/// Removes up to $2 minutes (hours) before $1 that are not needed for a sum any more.
pub(in crate::store) fn delete_parts(dialect: Dialect, level: Level, subject: &str) -> String {
    let (key, oldest, factor) = (level.source().as_str(), level.oldest(), level.factor());
    let summed = format!("{key} < (SELECT {oldest} FROM meta WHERE id = 1) * {factor}");
    delete_oldest(dialect, &format!("{subject}_{key}s"), key, subject, &summed)
}

/// Removes up to $2 days before $1.
pub(in crate::store) fn delete_days(dialect: Dialect, subject: &str) -> String {
    delete_oldest(dialect, &format!("{subject}_days"), "day", subject, "1 = 1")
}

fn delete_oldest(dialect: Dialect, table: &str, key: &str, subject: &str, condition: &str) -> String {
    let owner = if subject == "node" { "node" } else { "series" };
    dialect.finish(format!(
        "DELETE FROM {table} WHERE ({key}, {owner}) IN (SELECT {key}, {owner} FROM {table} \
         WHERE {key} < $1 AND {condition} ORDER BY {key}, {owner} LIMIT $2)"
    ))
}
