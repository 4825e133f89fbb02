export function NodeView(_: { id?: string }) {
  return <p>NodeView</p>;
}
