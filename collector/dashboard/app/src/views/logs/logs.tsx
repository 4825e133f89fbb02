export function LogsView(_: { id?: string }) {
  return <p>LogsView</p>;
}
