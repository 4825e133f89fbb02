export function PipelineView(_: { id?: string }) {
  return <p>PipelineView</p>;
}
