//! The address of a PostgreSQL database. Its password is never printed.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use percent_encoding::percent_decode_str;
use tokio_postgres::config::SslMode;

/// The protection of a connection; the names are libpq's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TlsMode {
    /// `disable`.
    Off,
    /// `prefer`, the default: encrypted if the server can.
    IfOffered,
    /// `require`: encrypted, without a check of the server's identity. With `sslrootcert` the same as
    /// `verify-ca`, as in libpq.
    Encrypted,
    /// `verify-ca`: the certificate is signed by one that is trusted.
    TrustedIssuer,
    /// `verify-full`: and it is the host's.
    TrustedHost,
}

/// `postgres://…` or `postgresql://…`, read once. Neither its `Debug` nor its `Display` has the password.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct PostgresUrl {
    /// The address as tokio-postgres parses it.
    pub(crate) config: tokio_postgres::Config,
    pub(crate) tls: TlsMode,
    /// `sslrootcert`: PEM file with the certificates that are trusted instead of the system's.
    pub(crate) root_certificates: Option<PathBuf>,
    shown: String,
}

impl PostgresUrl {
    /// Whether a text is meant to be such an address.
    pub(crate) fn is_meant(text: &str) -> bool {
        text.starts_with("postgres://") || text.starts_with("postgresql://")
    }
}

impl FromStr for PostgresUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (address, parameters) = text.split_once('?').unwrap_or((text, ""));
        let mut tls = TlsMode::IfOffered;
        let mut root_certificates = None;
        let mut others = Vec::new();
        for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let value =
                percent_decode_str(value).decode_utf8().map_err(|_| format!("the value of {name} is not UTF-8"))?;
            match name {
                "sslmode" => tls = tls_mode(&value)?,
                "sslrootcert" => root_certificates = Some(PathBuf::from(value.as_ref())),
                _ => others.push(parameter),
            }
        }
        if tls == TlsMode::Encrypted && root_certificates.is_some() {
            tls = TlsMode::TrustedIssuer;
        }
        let plain = format!("{address}?{}", others.join("&"));
        // The error of the parser does not repeat what it could not read.
        let mut config: tokio_postgres::Config = plain.parse().map_err(|error: tokio_postgres::Error| {
            let cause = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            format!("not a valid PostgreSQL address: {cause}")
        })?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err("the host is missing, expected e.g. postgres://user@host/database".to_owned());
        }
        config.ssl_mode(match tls {
            TlsMode::Off => SslMode::Disable,
            TlsMode::IfOffered => SslMode::Prefer,
            TlsMode::Encrypted | TlsMode::TrustedIssuer | TlsMode::TrustedHost => SslMode::Require,
        });
        Ok(PostgresUrl { config, tls, root_certificates, shown: without_password(text) })
    }
}

fn tls_mode(name: &str) -> Result<TlsMode, String> {
    Ok(match name {
        "disable" => TlsMode::Off,
        "prefer" => TlsMode::IfOffered,
        "require" => TlsMode::Encrypted,
        "verify-ca" => TlsMode::TrustedIssuer,
        "verify-full" => TlsMode::TrustedHost,
        other => {
            return Err(format!(
                "unknown sslmode {other:?}, expected one of disable, prefer, require, verify-ca, verify-full"
            ));
        }
    })
}

impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// The address of a database for messages, also when it cannot be parsed: three stars replace the password.
pub(crate) fn without_password(url: &str) -> String {
    let (address, parameters) = url.split_once('?').unwrap_or((url, ""));
    let mut shown = match address.split_once("://").map(|(scheme, rest)| (scheme, rest.rsplit_once('@'))) {
        Some((scheme, Some((user, host)))) => match user.split_once(':') {
            Some((user, _)) => format!("{scheme}://{user}:***@{host}"),
            None => address.to_owned(),
        },
        _ => address.to_owned(),
    };
    for (index, parameter) in parameters.split('&').filter(|parameter| !parameter.is_empty()).enumerate() {
        shown.push(if index == 0 { '?' } else { '&' });
        shown.push_str(if parameter.starts_with("password=") { "password=***" } else { parameter });
    }
    shown
}

#[cfg(test)]
mod tests {
    use tokio_postgres::config::Host;

    use super::*;

    #[test]
    fn url_is_parsed_and_hides_the_password() {
        for scheme in ["postgres", "postgresql"] {
            let text =
                format!("{scheme}://systole:s%40cret@db.example:5433/fleet?connect_timeout=3&sslmode=verify-full");
            let url: PostgresUrl = text.parse().unwrap();
            assert_eq!(url.config.get_password(), Some("s@cret".as_bytes()));
            assert_eq!(url.config.get_hosts(), [Host::Tcp("db.example".into())]);
            assert_eq!((url.tls, url.config.get_ssl_mode()), (TlsMode::TrustedHost, SslMode::Require));
            let shown = format!("{scheme}://systole:***@db.example:5433/fleet?connect_timeout=3&sslmode=verify-full");
            assert_eq!((url.to_string(), format!("{url:?}")), (shown.clone(), shown));
        }
        let parameter: PostgresUrl = "postgres:///db?host=/run&user=me&password=secret".parse().unwrap();
        assert_eq!(parameter.to_string(), "postgres:///db?host=/run&user=me&password=***");
    }

    #[test]
    fn root_certificate_is_checked() {
        let url: PostgresUrl = "postgres://db/x?sslmode=require&sslrootcert=%2Fetc%2Fca.pem".parse().unwrap();
        assert_eq!((url.tls, url.root_certificates), (TlsMode::TrustedIssuer, Some("/etc/ca.pem".into())));
    }

    #[test]
    fn errors_do_not_contain_the_password() {
        let mistakes = [
            ("postgres:///db?user=me", "host"),
            ("postgres://me:secret@db/x?sslmode=on", "sslmode"),
            ("postgres://me:secret@db:port/x", "port"),
            ("postgres://me:secret@db/x?colour=red", "colour"),
        ];
        for (text, about) in mistakes {
            let mistake = text.parse::<PostgresUrl>().unwrap_err();
            assert!(mistake.contains(about) && !mistake.contains("secret"), "{text}: {mistake}");
        }
        assert_eq!(without_password("postgres://me:sec@ret@db:port/x"), "postgres://me:***@db:port/x");
        assert_eq!(without_password("postgres://me@db"), "postgres://me@db");
    }
}
