//! Suggests the path that was probably meant, for the detail of a 404.

use systole_shared::edit_distance::edit_distance;

/// Longest path that is compared: a route has at most half of it.
const MAX_PATH_BYTES: usize = 128;

/// Letters that may be wrong. With more of them `/nodes` would be suggested for `/notes.html`.
const MAX_DISTANCE: usize = 2;

/// The known path that is nearest to a path, if one is near.
pub(super) fn nearest<'a>(path: &str, known: &[&'a str]) -> Option<&'a str> {
    if path.len() > MAX_PATH_BYTES {
        return None;
    }
    let asked = resource(path);
    if asked.is_empty() {
        return None;
    }
    let distance = |route: &&'a str| Some((distance_to(&asked, &resource(route))?, *route));
    known.iter().filter_map(distance).min_by_key(|(distance, _)| *distance).map(|(_, route)| route)
}

/// The segments without `api` and the version, which are what is most often wrong.
fn resource(path: &str) -> Vec<String> {
    let is_version = |segment: &str| segment.strip_prefix('v').is_some_and(|number| number.parse::<u8>().is_ok());
    path.split('/')
        .filter(|segment| !segment.is_empty())
        .map(str::to_ascii_lowercase)
        .skip_while(|segment| segment == "api" || is_version(segment))
        .collect()
}

fn distance_to(asked: &[String], route: &[String]) -> Option<usize> {
    if asked.len() != route.len() {
        return None;
    }
    let sum = asked.iter().zip(route).map(|(asked, route)| match route.starts_with('{') {
        true => 0,
        false => edit_distance(asked, route),
    });
    Some(sum.sum()).filter(|distance| *distance <= MAX_DISTANCE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_path_forgives_prefix_case_and_letters() {
        let known =
            ["/healthz", "/api/v1/events", "/api/v1/nodes", "/api/v1/nodes/{id}/minutes", "/api/v1/status-changes"];
        for (asked, meant) in [
            ("/api/events", "/api/v1/events"),
            ("/events/", "/api/v1/events"),
            ("/api/v2/events", "/api/v1/events"),
            ("//api/v1/Nodes", "/api/v1/nodes"),
            ("/api/v1/status_changes", "/api/v1/status-changes"),
            ("/nodes/7/minute", "/api/v1/nodes/{id}/minutes"),
            ("/health", "/healthz"),
        ] {
            assert_eq!(nearest(asked, &known), Some(meant), "{asked}");
        }
        for far in ["/", "/api/v1", "/index.html", "/favicon.ico", "/api/v1/nodes/7/hours/1", &"/x".repeat(80)] {
            assert_eq!(nearest(far, &known), None, "{far}");
        }
    }
}
