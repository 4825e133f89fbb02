export function RolloutsView(_: { id?: string }) {
  return <p>RolloutsView</p>;
}
