export function LedgerView(_: { id?: string }) {
  return <p>LedgerView</p>;
}
