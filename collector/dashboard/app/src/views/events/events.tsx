export function EventsView(_: { id?: string }) {
  return <p>EventsView</p>;
}
