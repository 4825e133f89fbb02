export function PipelinesView(_: { id?: string }) {
  return <p>PipelinesView</p>;
}
