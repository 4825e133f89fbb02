export function Ledger(_: { id: string; node: string | undefined }) {
  return <p>ledger</p>;
}
