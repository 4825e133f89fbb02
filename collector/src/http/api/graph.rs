//! How the components of a pipeline are connected, and what flows between them.

use actix_web::HttpRequest;
use actix_web::web::{Data, Json, Path};
use serde::Serialize;
use systole_shared::PipelineId;
use utoipa::ToSchema;

use crate::app::App;
use crate::clock;
use crate::http::error::ApiError;
use crate::http::extract::QueryAccess;
use crate::http::openapi::problems::QueryOfPipeline;
use crate::http::params::{InEnvironment, OnNode, find_pipeline_view, read};
use crate::query::graph::{self, Graph};

/// The graph of a pipeline.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PipelineGraph {
    pipeline_id: String,
    /// SHA-256 of the configuration that most nodes run. Null when none is known: there are no edges then.
    checksum: Option<String>,
    components: Vec<GraphComponent>,
    edges: Vec<GraphEdge>,
}

/// A component of a graph. Rates are those of the last samples, summed over nodes; null when there is none.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GraphComponent {
    component_id: String,
    /// source, transform or sink.
    kind: String,
    /// The engine's name of its type, such as `remap`. Null when it is unknown.
    component_type: Option<String>,
    received_events_rate: Option<f64>,
    sent_events_rate: Option<f64>,
    /// The fullest buffer of a node, 0 to 1, as of the last minute that was stored. Null when it has none.
    buffer_fill: Option<f64>,
}

/// A connection of a graph.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GraphEdge {
    /// The component that sends.
    from: String,
    /// Its output, such as `errors` of a route. Null for the default output.
    output: Option<String>,
    /// The component that receives.
    to: String,
    /// What the output sends, events a second. Null when it is not known: a component with several outputs reports
    /// only their sum.
    sent_events_rate: Option<f64>,
    /// The buffer of the component that receives.
    buffer_fill: Option<f64>,
}

impl PipelineGraph {
    fn new(pipeline_id: String, graph: Graph) -> Self {
        let components = graph.components.into_iter().map(|component| GraphComponent {
            component_id: component.id,
            kind: component.kind,
            component_type: component.component_type,
            received_events_rate: component.received_events_rate,
            sent_events_rate: component.sent_events_rate,
            buffer_fill: component.buffer_fill,
        });
        let edges = graph.edges.into_iter().map(|(edge, sent_events_rate, buffer_fill)| GraphEdge {
            from: edge.from,
            output: edge.output,
            to: edge.to,
            sent_events_rate,
            buffer_fill,
        });
        let (components, edges) = (components.collect(), edges.collect());
        PipelineGraph { pipeline_id, checksum: graph.checksum, components, edges }
    }
}

/// How the components of a pipeline are connected, and what flows between them
#[utoipa::path(
    get,
    path = "/api/v1/pipelines/{id}/graph",
    tag = "queries",
    params(("id" = inline(PipelineId), Path, description = "The pipeline"), InEnvironment, OnNode),
    responses((status = 200, description = "The graph", body = PipelineGraph), QueryOfPipeline),
)]
pub(crate) async fn get_graph(
    app: Data<App>,
    reader: QueryAccess,
    request: HttpRequest,
    id: Path<String>,
) -> Result<Json<PipelineGraph>, ApiError> {
    let (environment, node) = read::<(InEnvironment, OnNode)>(&request)?;
    let scope = environment.scope(&app, &reader.0)?;
    let node = node.key(&app, scope).await?;
    let pipeline = find_pipeline_view(&app, scope, &id).await?;
    let graph = graph::of(&*app.store, &app.recent_samples, &pipeline, node, clock::now_ms()).await?;
    Ok(Json(PipelineGraph::new(pipeline.id, graph)))
}
