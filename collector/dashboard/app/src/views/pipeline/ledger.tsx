import { Ledger } from "../ledger/table.tsx";
import type { TabProps } from "./pipeline.tsx";

export function LedgerTab({ pipeline, node }: TabProps) {
  return <Ledger id={pipeline.id} node={node} />;
}
