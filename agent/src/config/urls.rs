//! The collector's addresses: one as `url`, or several as `urls`, from the first place that has either.

use reqwest::Url;

use super::errors::ConfigErrors;
use super::load::Overrides;
use super::section::Section;
use super::settings::{self, Lookup};
use crate::model::protocol::{Protocol, ProtocolSetting};

/// The most addresses: a cluster has two to five collectors.
const MAX_URLS: usize = 16;

/// The addresses as they were written, and the place that they came from, as errors name it.
pub(super) struct FoundUrls {
    values: Vec<String>,
    place: &'static str,
    /// Both settings, if one place has both.
    both: Option<(&'static str, &'static str)>,
}

impl FoundUrls {
    /// Takes them from flags, variables or file.
    pub(super) fn take(root: &mut Section<'_>, flags: &Overrides, env: Lookup<'_>) -> Self {
        let in_file = (root.text("url"), root.texts("urls"));
        if !flags.urls.is_empty() {
            return FoundUrls { values: flags.urls.clone(), place: "--url", both: None };
        }
        let variable = |name| env(name).filter(|value| !value.trim().is_empty());
        let list = |text: String| text.split(',').map(|url| url.trim().to_owned()).collect();
        let variables = (variable("SYSTOLE_URL"), variable("SYSTOLE_URLS"));
        let both = match (&variables, &in_file) {
            ((Some(_), Some(_)), _) => Some(("SYSTOLE_URL", "SYSTOLE_URLS")),
            ((None, None), (Some(_), Some(_))) => Some(("url", "urls")),
            _ => None,
        };
        let (values, place) = match (variables, variable("VF_URL"), in_file) {
            ((Some(url), _), ..) => (vec![url], "SYSTOLE_URL"),
            ((None, Some(urls)), ..) => (list(urls), "SYSTOLE_URLS"),
            (_, Some(url), _) => (vec![url], "VF_URL"),
            (.., (Some(url), _)) => (vec![url], "url"),
            (.., (None, Some(urls))) => (urls, "urls"),
            _ => (Vec::new(), "url"),
        };
        FoundUrls { values, place, both }
    }

    /// Whether the address is that of VectorFlow's agent.
    pub(super) fn is_of_vectorflow(&self) -> bool {
        self.place == "VF_URL"
    }

    /// The addresses, or their errors. A file that cannot be read may hold them.
    pub(super) fn check(
        &self,
        file_is_broken: bool,
        protocol: ProtocolSetting,
        errors: &mut ConfigErrors,
    ) -> Option<Vec<Url>> {
        let (values, place) = (&self.values, self.place);
        if let Some((one, several)) = self.both {
            errors.add(several, format!("is set together with `{one}`; remove one of them"));
            return None;
        }
        if values.is_empty() {
            if !file_is_broken {
                errors.add(
                    place,
                    "is missing; set the collector's address as `url`, SYSTOLE_URL or --url, like http://collector.example:8080",
                );
            }
            return None;
        }
        let mut urls: Vec<Url> = Vec::with_capacity(values.len());
        for value in values {
            match settings::collector_url(value) {
                Ok(url) if urls.contains(&url) => errors.add(place, format!("contains {url} twice")),
                Ok(url) => urls.push(url),
                Err(what) if values.len() == 1 => errors.add(place, what),
                Err(what) => errors.add(place, format!("{value:?}: {what}")),
            }
        }
        if values.len() > MAX_URLS {
            errors.add(place, format!("has {} addresses, at most {MAX_URLS} are allowed", values.len()));
        }
        if urls.iter().any(|url| url.scheme() != urls[0].scheme()) {
            errors.add(place, "mixes http:// and https://; all addresses of a cluster have the same scheme");
        }
        if values.len() > 1 && protocol == ProtocolSetting::Fixed(Protocol::VectorFlow) {
            errors.add(place, "has several addresses, but a VectorFlow server has one; set `url`");
        }
        (urls.len() == values.len()).then_some(urls)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn check(
        file: &str,
        variables: &[(&str, &str)],
        flags: &[&str],
        protocol: ProtocolSetting,
    ) -> Result<Vec<String>, Vec<String>> {
        let variables: HashMap<&str, &str> = variables.iter().copied().collect();
        let env = |name: &str| variables.get(name).map(|value| (*value).to_owned());
        let flags = Overrides { urls: flags.iter().map(|url| (*url).to_owned()).collect(), ..Overrides::default() };
        let mut errors = ConfigErrors::default();
        let found = FoundUrls::take(&mut Section::new("", file.parse().unwrap(), &mut errors), &flags, &env);
        let urls = found.check(false, protocol, &mut errors);
        match urls.filter(|_| errors.is_empty()) {
            Some(urls) => Ok(urls.iter().map(Url::to_string).collect()),
            None => Err(errors.keys().iter().map(ToString::to_string).collect()),
        }
    }

    #[test]
    fn flags_precede_variables_precede_file_also_for_lists() {
        let auto = ProtocolSetting::Auto;
        let file = "urls = [\"http://a:1\", \"http://b:1/x/\"]";
        let variables = [("SYSTOLE_URLS", "http://c:1, http://d:1"), ("VF_URL", "http://vf:1")];
        let both = |urls: [&str; 2]| Ok(urls.map(str::to_owned).to_vec());
        assert_eq!(check(file, &[], &[], auto), both(["http://a:1/", "http://b:1/x"]));
        assert_eq!(check(file, &variables, &[], auto), both(["http://c:1/", "http://d:1/"]));
        assert_eq!(check(file, &variables, &["http://e:1", "http://f:1"], auto), both(["http://e:1/", "http://f:1/"]));
        assert_eq!(check(file, &variables[1..], &[], auto), Ok(vec!["http://vf:1/".to_owned()]));
    }

    #[test]
    fn errors_of_addresses_name_their_place() {
        let (auto, vectorflow) = (ProtocolSetting::Auto, ProtocolSetting::Fixed(Protocol::VectorFlow));
        let error =
            |file: &str, variables: &[(&str, &str)], protocol| check(file, variables, &[], protocol).unwrap_err();
        let pair = "urls = [\"http://a:1\", \"http://b:1\"]";
        assert_eq!(error("", &[], auto), ["url"]);
        assert_eq!(error("urls = []", &[], auto), ["urls"]);
        assert_eq!(error(&format!("url = \"http://a:1\"\n{pair}"), &[], auto), ["urls"]);
        assert_eq!(error("", &[("SYSTOLE_URL", "http://a:1"), ("SYSTOLE_URLS", "http://b:1")], auto), ["SYSTOLE_URLS"]);
        assert_eq!(error("urls = [\"http://a:1\", \"http://a:1/\"]", &[], auto), ["urls"]);
        assert_eq!(error("urls = [\"http://a:1\", \"https://b:1\"]", &[], auto), ["urls"]);
        assert_eq!(error("", &[("SYSTOLE_URLS", "http://a:1,,")], auto), ["SYSTOLE_URLS", "SYSTOLE_URLS"]);
        assert_eq!(error(pair, &[], vectorflow), ["urls"]);
    }
}
