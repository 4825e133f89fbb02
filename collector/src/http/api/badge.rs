//! The state of a pipeline as a small picture, for pages that list many of them.

use actix_web::http::header;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use systole_shared::{PipelineId, PipelineStatus};

use crate::app::App;
use crate::http::error::ApiError;
use crate::http::extract::QueryAccess;
use crate::http::openapi::problems::QueryOfPipeline;
use crate::http::params::{InEnvironment, find_pipeline_view, read};

/// How long a browser may show a picture again, in seconds: two reports.
const MAX_AGE_SECONDS: u32 = 10;

/// About the width of a character of the badge's font; browsers fit the text into the exact width that follows.
const CHARACTER_WIDTH: usize = 7;

/// Characters of a name; a longer one is cut.
const MAX_NAME: usize = 40;

/// The state of a pipeline as a badge
///
/// An SVG with the name of the pipeline and the worst state of its nodes. A browser shows it on pages of the collector's
/// own site, with the cookie of a session.
#[utoipa::path(
    get,
    path = "/api/v1/badge/pipelines/{id}.svg",
    tag = "collector",
    params(("id" = inline(PipelineId), Path, description = "The pipeline"), InEnvironment),
    responses((status = 200, description = "The badge", body = String, content_type = "image/svg+xml"), QueryOfPipeline),
)]
pub(crate) async fn get_pipeline_badge(
    app: Data<App>,
    reader: QueryAccess,
    request: HttpRequest,
    id: Path<String>,
) -> Result<HttpResponse, ApiError> {
    let (environment,) = read::<(InEnvironment,)>(&request)?;
    let scope = environment.scope(&app, &reader.0)?;
    let pipeline = find_pipeline_view(&app, scope, &id).await?;
    let states = pipeline.nodes.iter().map(|node| PipelineStatus::from_wire(&node.row.status));
    let svg = draw(&pipeline.name, &Summary::of(states));
    Ok(HttpResponse::Ok()
        .content_type("image/svg+xml")
        .insert_header((header::CACHE_CONTROL, format!("private, max-age={MAX_AGE_SECONDS}")))
        .insert_header((header::VARY, "Authorization, Cookie"))
        // What a name has is text; a browser that opens the picture itself runs nothing all the same.
        .insert_header((header::CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'"))
        .body(svg))
}

/// The state of a pipeline over its nodes.
#[derive(Debug, PartialEq, Eq)]
struct Summary {
    text: String,
    color: &'static str,
}

impl Summary {
    /// The worst state, and on how many nodes it is.
    fn of(states: impl Iterator<Item = PipelineStatus>) -> Self {
        let states: Vec<_> = states.collect();
        let Some(worst) = states.iter().copied().max_by_key(|status| badness(*status)) else {
            return Summary { text: "on no node".to_owned(), color: GREY };
        };
        let count = states.iter().filter(|status| **status == worst).count();
        let word = worst.as_str().to_lowercase().replace('_', " ");
        let text = if states.len() == 1 { word } else { format!("{word} {count}/{}", states.len()) };
        Summary { text, color: color(worst) }
    }
}

fn badness(status: PipelineStatus) -> u8 {
    match status {
        PipelineStatus::Running => 0,
        PipelineStatus::Starting => 1,
        PipelineStatus::Pending => 2,
        PipelineStatus::Stopped => 3,
        PipelineStatus::Unknown => 4,
        PipelineStatus::Degraded => 5,
        PipelineStatus::Crashed => 6,
        PipelineStatus::CrashLoop => 7,
    }
}

const GREY: &str = "#5f6b76";

/// White text on each of these has a contrast of at least 4.5.
fn color(status: PipelineStatus) -> &'static str {
    match status {
        PipelineStatus::Running => "#1f7a3d",
        PipelineStatus::Starting | PipelineStatus::Pending => "#2563ab",
        PipelineStatus::Stopped | PipelineStatus::Unknown => GREY,
        PipelineStatus::Degraded => "#94610a",
        PipelineStatus::Crashed | PipelineStatus::CrashLoop => "#b3261e",
    }
}

fn draw(name: &str, Summary { text, color }: &Summary) -> String {
    let name = shortened(name);
    let width = |text: &str| 12 + CHARACTER_WIDTH * text.chars().count();
    let (left, right) = (width(&name), width(text));
    let (name, text) = (escaped(&name), escaped(text));
    let (all, middle, end) = (left + right, left / 2, left + right / 2);
    let (name_width, text_width) = (left - 12, right - 12);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{all}\" height=\"20\" role=\"img\" aria-label=\"{name}: {text}\">\
         <title>{name}: {text}</title><rect width=\"{all}\" height=\"20\" rx=\"3\" fill=\"#333b44\"/>\
         <path d=\"M{left} 0h{inner}a3 3 0 0 1 3 3v14a3 3 0 0 1-3 3H{left}z\" fill=\"{color}\"/>\
         <g fill=\"#fff\" text-anchor=\"middle\" font-family=\"Verdana,DejaVu Sans,sans-serif\" font-size=\"11\">\
         <text x=\"{middle}\" y=\"14\" textLength=\"{name_width}\">{name}</text>\
         <text x=\"{end}\" y=\"14\" textLength=\"{text_width}\">{text}</text></g></svg>",
        inner = right - 3,
    )
}

fn shortened(name: &str) -> String {
    if name.chars().count() <= MAX_NAME {
        return name.to_owned();
    }
    name.chars().take(MAX_NAME - 1).chain(['…']).collect()
}

/// Text of XML: a name has any characters. Those that XML does not have become a space.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\u{fffe}' | '\u{ffff}' => escaped.push(' '),
            character if character.is_control() => escaped.push(' '),
            character => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use PipelineStatus::{CrashLoop, Degraded, Running};

    use super::*;

    #[test]
    fn badge_shows_the_worst_state() {
        let text = |states: &[PipelineStatus]| Summary::of(states.iter().copied()).text;
        assert_eq!(text(&[]), "on no node");
        assert_eq!(text(&[Running]), "running");
        assert_eq!(text(&[Running, Running]), "running 2/2");
        assert_eq!(text(&[Running, CrashLoop, Degraded]), "crash loop 1/3");
    }

    #[test]
    fn name_cannot_leave_its_text() {
        let svg = draw("</title><script>\"'&\u{1}", &Summary::of([Running].into_iter()));
        assert!(!svg.contains("<script") && !svg.contains('\u{1}'), "{svg}");
        assert!(svg.contains("&lt;/title&gt;&lt;script&gt;&quot;&#39;&amp; : running"), "{svg}");
        assert_eq!(shortened(&"ü".repeat(50)).chars().count(), MAX_NAME);
    }
}
