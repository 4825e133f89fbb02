use super::*;

#[test]
fn vector_lines_have_their_levels() {
    for line in include_str!("../../../agent/testdata/vector-0.58/logs.txt").lines() {
        let said = line.split_ascii_whitespace().nth(1).unwrap();
        assert_eq!(find(line).unwrap().as_str(), said, "{line}");
    }
}

#[test]
fn first_level_key_of_a_json_line_counts() {
    let lines: Vec<&str> = include_str!("../../../agent/testdata/vector-0.58/stdout-json.txt").lines().collect();
    assert!(lines[0].contains(r#""level":"INFO""#) && lines[0].contains(r#""level":"\"info\"""#));
    assert_eq!(find(lines[0]), Some(LogLevel::Info));
    assert_eq!(find(r#"{"level":"WARN","x":1,"level":"\"error\""}"#), Some(LogLevel::Warn));
    assert_eq!(find(r#"{"a":{"level":"ERROR"},"severity":"debug"}"#), Some(LogLevel::Debug));
    assert_eq!(find(r#"{"level":50,"msg":"x"}"#), Some(LogLevel::Error));
    assert_eq!(find(r#"{"lvl":"warn","msg":"cut of"#), Some(LogLevel::Warn));
    assert_eq!(find(r#"{"msg":"an ERROR"}"#), None);
    assert_eq!(find("{not json ERROR"), None);
}

#[test]
fn level_is_found_after_time_or_name() {
    assert_eq!(find("\x1b[2m2026-11-20T18:23:14Z\x1b[0m \x1b[33m WARN\x1b[0m vector: x"), Some(LogLevel::Warn));
    assert_eq!(find("[2026-11-20 18:23:14] ERROR x"), Some(LogLevel::Error));
    assert_eq!(find("2026/11/20 18:23:14 [error] 12#0: x"), Some(LogLevel::Error));
    assert_eq!(find("2026-11-20 18:23:14 UTC debug x"), Some(LogLevel::Debug));
    assert_eq!(find("time=\"2026-11-20\" level=warning msg=\"x\""), Some(LogLevel::Warn));
    assert_eq!(find("[main] WARN x"), Some(LogLevel::Warn));
    assert_eq!(find("Error: no such file"), Some(LogLevel::Error));
    assert_eq!(find("<info> x"), Some(LogLevel::Info));
}

#[test]
fn later_words_are_not_levels() {
    for line in [
        "cleared ERROR state",
        "error handling is on",
        "Notice that it rains",
        "",
        "   ",
        "a=b level=info",
        "12 monkeys and an ERROR",
    ] {
        assert_eq!(find(line), None, "{line}");
    }
}

/// Lines of real systems, and the level that each says.
#[rustfmt::skip]
const KNOWN: [(Option<LogLevel>, &str); 97] = {
    const T: Option<LogLevel> = Some(LogLevel::Trace);
    const D: Option<LogLevel> = Some(LogLevel::Debug);
    const I: Option<LogLevel> = Some(LogLevel::Info);
    const W: Option<LogLevel> = Some(LogLevel::Warn);
    const E: Option<LogLevel> = Some(LogLevel::Error);
    [
    // syslog
    (E, "<11>Nov 29 10:00:00 web1 app[311]: disk failed"),
    (W, "<28>Nov 29 10:00:00 web1 dhclient[88]: lease is short"),
    (I, "<30>Nov 29 10:00:00 web1 systemd[1]: Started Session 4 of user root."),
    (D, "<15>1 2026-11-29T10:00:00.003Z web1 app 311 ID47 - cache is warm"),
    (E, "<14>1 2026-11-29T10:00:00.003Z web1 app 311 - - ERROR no connection"),
    (E, "<3>usb 1-1: device descriptor read/64, error -71"),
    (E, "Nov 29 10:00:00 web1 app[311]: ERROR no connection"),
    (E, "Nov  9 10:00:00 web1 sshd[812]: error: kex_exchange_identification: closed"),
    (E, "Nov 29 10:00:00 web1 sshd[812]: fatal: Timeout before authentication"),
    (W, "Nov 29 10:00:00 web1 postfix/smtpd[9]: warning: hostname does not resolve"),
    (W, "2026-11-29T10:00:00.123456+01:00 web1 app[311]: WARN queue is long"),
    (E, "Nov 29 10:00:00 web1 app[311]: {\"level\":\"error\",\"msg\":\"x\"}"),
    // klog, glog
    (E, "E1129 10:00:00.000000       1 reflector.go:138] Failed to watch *v1.Pod"),
    (W, "W1129 10:00:00.000000   12345 warnings.go:70] v1 is deprecated"),
    (I, "I1129 10:00:00.000000       1 server.go:12] Starting"),
    (E, "F20261129 10:00:00.000000 140 main.cc:9] Check failed"),
    // PostgreSQL, MySQL, MongoDB, Redis
    (E, "2026-11-29 10:00:00.123 UTC [123] ERROR:  relation \"orders\" does not exist at character 15"),
    (E, "2026-11-29 10:00:00.123 CET [123] app@orders FATAL:  password authentication failed"),
    (I, "2026-11-29 10:00:00.123 UTC [123] LOG:  checkpoint starting: time"),
    (W, "2026-11-29 10:00:00.123 UTC [123] WARNING:  there is no transaction in progress"),
    (D, "2026-11-29 10:00:00.123 UTC [123] DEBUG2:  autovacuum"),
    (E, "2026-11-29T10:00:00.123456Z 0 [ERROR] [MY-010119] [Server] Aborting"),
    (W, "2026-11-29T10:00:00.123456Z 0 [Warning] [MY-010068] [Server] CA certificate is self signed."),
    (I, "2026-11-29T10:00:00.123456Z 0 [System] [MY-010931] [Server] ready for connections."),
    (I, "2026-11-29 10:00:00 0 [Note] InnoDB: Completed initialization of buffer pool"),
    (W, "{\"t\":{\"$date\":\"2026-11-29T10:00:00.123+00:00\"},\"s\":\"W\",\"c\":\"NETWORK\",\"msg\":\"x\"}"),
    (E, "2026-11-29T10:00:00.123+0000 E STORAGE  [initandlisten] WiredTiger error"),
    (W, "1:M 29 Nov 2026 10:00:00.000 # WARNING overcommit_memory is set to 0!"),
    (I, "1:M 29 Nov 2026 10:00:00.000 * Ready to accept connections"),
    (D, "1:S 29 Nov 2026 10:00:00.000 . 0 clients connected"),
    // Python
    (E, "ERROR:root:it failed"),
    (W, "WARNING:urllib3.connectionpool:Retrying"),
    (E, "2026-11-29 10:00:00,123 - orders.db - ERROR - no connection"),
    (I, "2026-11-29 10:00:00,123 INFO orders: started"),
    (E, "[2026-11-29 10:00:00,123: ERROR/MainProcess] Task orders.send raised"),
    (I, "[2026-11-29 10:00:00 +0000] [12] [INFO] Booting worker with pid: 12"),
    (I, "INFO:     Application startup complete."),
    (W, "2026-11-29 10:00:00.123 | WARNING  | orders:send:12 - slow"),
    // Apache, nginx, HAProxy, PHP
    (E, "[Sun Nov 29 10:00:00.123456 2026] [core:error] [pid 12:tid 140] [client 10.0.0.1:4] AH00126: Invalid URI"),
    (I, "[Sun Nov 29 10:00:00.123456 2026] [mpm_event:notice] [pid 1:tid 1] AH00489: configured"),
    (W, "[Sun Nov 29 10:00:00.123456 2026] [ssl:warn] [pid 1] AH01909: server certificate"),
    (T, "[Sun Nov 29 10:00:00.123456 2026] [rewrite:trace3] [pid 1] applying pattern"),
    (E, "[Sun Nov 29 10:00:00 2026] [error] [client 10.0.0.1] File does not exist"),
    (E, "2026/11/29 10:00:00 [emerg] 12#0: bind() to 0.0.0.0:80 failed"),
    (I, "2026/11/29 10:00:00 [notice] 12#12: signal process started"),
    (E, "[ALERT]    (1) : Binding [/etc/haproxy.cfg:9] cannot bind"),
    (W, "[29-Nov-2026 10:00:00] WARNING: [pool www] child 12 exited"),
    (E, "[29-Nov-2026 10:00:00 UTC] PHP Fatal error:  Uncaught Error in /srv/x.php:1"),
    (W, "[29-Nov-2026 10:00:00 UTC] PHP Warning:  Undefined variable $x"),
    (E, "[2026-11-29 10:00:00] local.ERROR: no connection {\"exception\":\"x\"}"),
    // Java
    (E, "[2026-11-29T10:00:00,123][ERROR][o.e.b.Bootstrap          ] [node-1] Exception"),
    (W, "[2026-11-29T10:00:00,123][WARN ][o.e.c.r.a.DiskThresholdMonitor] [node-1] high disk watermark"),
    (E, "[2026-11-29 10:00:00,123] ERROR [Broker id=1] Error while creating log (kafka.server.LogManager)"),
    (W, "2026-11-29 10:00:00,123 [myid:1] - WARN  [main:QuorumPeerMain@12] - Either no config"),
    (I, "2026-11-29T10:00:00.123+01:00  INFO 12 --- [           main] c.e.App : Started App"),
    (E, "10:00:00.123 [http-nio-8080-exec-1] ERROR com.example.App - failed"),
    (E, "29-Nov-2026 10:00:00.123 SEVERE [main] org.apache.catalina.core.StandardService.start"),
    (E, "SEVERE: Exception sending context"),
    // Telegraf, Fluent Bit, RabbitMQ, HashiCorp, OpenTelemetry, zerolog
    (E, "2026-11-29T10:00:00Z E! [inputs.docker] Error in plugin"),
    (I, "2026-11-29T10:00:00Z I! Starting Telegraf 1.30.0"),
    (W, "2026-11-29T10:00:00Z W! [outputs.influxdb] Metric buffer overflow"),
    (D, "2026-11-29T10:00:00Z D! [agent] Connecting outputs"),
    (W, "[2026/11/29 10:00:00] [ warn] [engine] failed to flush chunk"),
    (E, "[2026/11/29 10:00:00] [error] [output:es:es.0] HTTP status=429"),
    (E, "2026-11-29 10:00:00.123456+00:00 [error] <0.123.0> closing AMQP connection"),
    (E, "2026-11-29T10:00:00.123Z [ERROR] agent: failed to sync changes"),
    (W, "    2026/11/29 10:00:00 [WARN] raft: not leader"),
    (E, "2026-11-29T10:00:00.123Z\terror\texporterhelper/queue.go:1\tExporting failed"),
    (I, "2026-11-29T10:00:00.123Z\tinfo\tservice/service.go:1\tEverything is ready"),
    (E, "2026-11-29T10:00:00Z ERR no backend error=\"x\""),
    (I, "10:00AM INF listening"),
    (W, "[10:00:00 WRN] slow request"),
    (I, "[INFO] plugin/reload: Running configuration"),
    // logfmt
    (E, "ts=2026-11-29T10:00:00.123Z caller=main.go:12 level=error msg=\"x\""),
    (W, "level=warn ts=2026-11-29T10:00:00.123Z caller=head.go:1 msg=x"),
    (I, "time=\"2026-11-29T10:00:00Z\" level=info msg=\"x\""),
    (E, "time=2026-11-29T10:00:00.123+01:00 level=ERROR msg=\"x\" err=y"),
    (E, "t=2026-11-29T10:00:00+0000 lvl=eror msg=\"x\" logger=sqlstore"),
    (I, "logger=settings t=2026-11-29T10:00:00Z level=info msg=\"Starting Grafana\""),
    (E, "time=\"2026-11-29 10:00:00\" severity=error msg=x"),
    // JSON
    (E, "{\"timestamp\":1,\"severity_text\":\"ERROR\",\"body\":\"x\"}"),
    (W, "{\"timeUnixNano\":\"1\",\"severityNumber\":13,\"body\":\"x\"}"),
    (E, "{\"@timestamp\":\"2026-11-29T10:00:00Z\",\"log.level\":\"ERROR\",\"message\":\"x\"}"),
    (W, "{\"@timestamp\":\"2026-11-29T10:00:00Z\",\"log\":{\"logger\":\"a\",\"level\":\"warn\"}}"),
    (E, "{\"severity\":\"CRITICAL\",\"message\":\"x\"}"),
    (I, "{\"level\":30,\"time\":1790000000000,\"pid\":1,\"msg\":\"x\"}"),
    (W, "{\"name\":\"app\",\"hostname\":\"h\",\"pid\":1,\"level\":40,\"msg\":\"x\"}"),
    (E, "{\"version\":\"1.1\",\"host\":\"h\",\"short_message\":\"x\",\"level\":3}"),
    (E, "{\"PRIORITY\":\"3\",\"MESSAGE\":\"x\"}"),
    (W, "{\"levelname\":\"WARNING\",\"message\":\"x\"}"),
    (E, "{\"@t\":\"2026-11-29T10:00:00Z\",\"@l\":\"Error\",\"@mt\":\"x\"}"),
    (T, "{\"@level\":\"trace\",\"@message\":\"x\"}"),
    // Ruby, .NET, Go
    (E, "E, [2026-11-29T10:00:00.123456 #12] ERROR -- : x"),
    (W, "warn: Microsoft.AspNetCore.Server.Kestrel[0]"),
    (E, "fail: Microsoft.EntityFrameworkCore.Database.Command[20102]"),
    (E, "panic: runtime error: index out of range [5] with length 3"),
    (E, "fatal error: all goroutines are asleep - deadlock!"),
    ]
};

#[test]
fn level_of_lines_of_known_systems_is_the_one_they_say() {
    let wrong: Vec<_> = KNOWN
        .iter()
        .filter(|(level, line)| find(line) != *level)
        .map(|(level, line)| (level, find(line), line))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn level_of_lines_that_say_none_is_none() {
    let wrong = [
        "10.0.0.1 - - [29/Nov/2026:10:00:00 +0000] \"GET /error HTTP/1.1\" 500 12 \"-\" \"ERROR\"",
        "10.0.0.1 - bob [29/Nov/2026:10:00:00 +0000] \"GET / HTTP/1.1\" 200 12",
        "Nov 29 10:00:00 web1 systemd[1]: Failed to start error reporting.",
        "Nov 29 10:00:00 web1 kernel: usb 1-1: error -71",
        "Nov 29 10:00:00 web1 CRON[12]: (root) CMD (check --fatal error)",
        "[   12.345678] usb 1-1: device descriptor read/64, error -71",
        "2026-11-29 10:00:00 error handling is on",
        "2026-11-29 10:00:00 the ERROR is gone",
        "2026-11-29 10:00:00 warning lights are off",
        "2026-11-29 10:00:00 notice that nothing failed",
        "2 error messages were sent",
        "3 fatal accidents",
        "[Error handling module] started",
        "No errors were found",
        "Fatal attraction is a film",
        "alert people when it rains",
        "System is up",
        "Note that this is prose",
        "config loaded",
        "    at com.example.Error.raise(Error.java:12)",
        "Caused by: java.lang.Error: x",
        "GET /api/error 200",
        "key=value level=error",
        "msg=\"level=error\" x=y",
        "{\"msg\":\"ERROR\",\"s\":\"Every day\"}",
        "{\"level\":{\"a\":1}}",
        "2026-11-29 10:00:00.123 UTC [123] STATEMENT:  SELECT error FROM log",
        "2026-11-29 10:00:00.123 UTC [123] HINT:  FATAL is a word",
        "1:M 29 Nov 2026 10:00:00.000",
        "<999>x",
        "<b>ERROR</b>",
    ];
    let wrong: Vec<_> = wrong.iter().filter_map(|line| Some((find(line)?, line))).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}
