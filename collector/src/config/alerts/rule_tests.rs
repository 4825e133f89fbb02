use super::*;

fn read_text(text: &str) -> (Vec<Rule>, Vec<String>) {
    let table: Table = text.parse().unwrap();
    let mut errors = Vec::new();
    let rules = read(table.get("alerts"), &["ops".to_owned()], &mut errors);
    (rules, errors)
}

fn named<'a>(rules: &'a [Rule], name: &str) -> &'a Rule {
    rules.iter().find(|rule| rule.name == name).unwrap()
}

#[test]
fn built_in_rules_are_changed_and_switched_off_by_name() {
    let text = "[alerts.node-unreachable]\nfor = '5m'\nseverity = 'warning'\nmatch = ['site!=lab']\n\
        [alerts.errors]\nexpr = 'errors > 10'\nover = '1m'\n[alerts.no-events]\nenabled = false\n";
    let (rules, errors) = read_text(text);
    assert_eq!(errors, Vec::<String>::new());
    let node = named(&rules, "node-unreachable");
    assert_eq!((node.hold.as_secs(), node.clear.as_secs(), node.severity), (300, 150, AlertSeverity::Warning));
    assert_eq!(node.matchers[0].to_string(), "site!=lab");
    assert_eq!(named(&rules, "errors").condition.describe(), "errors > 10 over 1m");
    assert!(!rules.iter().any(|rule| rule.name == "no-events"));
    assert_eq!(rules.len(), builtin::rules().len() - 1);
}

#[test]
fn own_rules_have_defaults() {
    let text = "[[alerts.rules]]\nname = 'slow'\non = 'rate'\nexpr = 'latency_ms > 500'\npipeline = 'orders-*'\nnotify = ['ops']\n\
        [[alerts.rules]]\nname = 'hot'\non = 'host'\nexpr = 'cpu > 90%'\nfor = '10m'\n\
        [[alerts.rules]]\nname = 'away'\non = 'status'\nsubject = 'node'\nstatus = ['OFFLINE']\n\
        [[alerts.rules]]\nname = 'quiet'\non = 'gap'\nafter = '30m'\n";
    let (rules, errors) = read_text(text);
    assert_eq!(errors, Vec::<String>::new());
    let slow = named(&rules, "slow");
    assert_eq!((slow.hold, slow.severity, slow.is_builtin), (Duration::ZERO, AlertSeverity::Warning, false));
    assert_eq!(
        (slow.matchers[0].to_string(), &slow.notify[..]),
        ("pipeline=orders-*".to_owned(), &["ops".to_owned()][..])
    );
    assert_eq!(named(&rules, "hot").clear.as_secs(), 300);
    assert!(named(&rules, "away").condition.is_of_nodes());
    assert_eq!(named(&rules, "quiet").hold.as_secs(), 600);
}

#[test]
fn every_error_is_reported_with_its_place() {
    let text = "[alerts.nodes-down]\nfor = '1m'\n[alerts.errors]\nfor = 'soon'\nexpr = 'errors >'\ncolour = 'red'\n\
        [[alerts.rules]]\non = 'rate'\n[[alerts.rules]]\nname = 'errors'\non = 'sometimes'\n\
        [[alerts.rules]]\nname = 'x'\non = 'status'\nstatus = ['BROKEN']\nnotify = ['nothing']\nover = '5m'\n\
        [[alerts.rules]]\nname = 'y'\non = 'rate'\nexpr = 'errors > 1'\nover = '90s'\nenabled = 1\n";
    let (_, errors) = read_text(text);
    let mut places: Vec<_> = errors.iter().map(|error| error.split(": ").next().unwrap()).collect();
    places.sort_unstable();
    let expected = [
        "alerts.errors.colour",
        "alerts.errors.expr",
        "alerts.errors.for",
        "alerts.nodes-down",
        "alerts.rules.errors.name",
        "alerts.rules.errors.on",
        "alerts.rules.x.notify",
        "alerts.rules.x.over",
        "alerts.rules.x.status",
        "alerts.rules.y.enabled",
        "alerts.rules.y.over",
        "alerts.rules[0].expr",
        "alerts.rules[0].name",
    ];
    assert_eq!(places, expected, "{errors:#?}");
    assert!(errors.iter().any(|error| error.contains("column 9")), "{errors:#?}");
}
