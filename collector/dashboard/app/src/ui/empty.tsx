import type { ComponentChildren } from "preact";
import { CopyButton } from "./copy.tsx";
import type { Answer } from "./use_query.ts";

/** Nothing to show: why, and the exact command that changes it. */
export function Empty({ title, children, command }: { title: string; children?: ComponentChildren; command?: string }) {
  return (
    <div class="empty">
      {title !== "" && <p class="empty-title">{title}</p>}
      {children !== undefined && <p>{children}</p>}
      {command !== undefined && (
        <div class="command">
          <code>{command}</code>
          <CopyButton text={command} label="Copy the command" />
        </div>
      )}
    </div>
  );
}

export function Loading() {
  return (
    <div class="loading" aria-busy="true">
      <span />
      <span />
      <span />
    </div>
  );
}

export function Failure({ error, retry }: { error: string; retry?: () => void }) {
  return (
    <div class="empty" role="alert">
      <p class="empty-title">This could not be read</p>
      <p>{error}</p>
      {retry !== undefined && (
        <button type="button" onClick={retry}>
          Try again
        </button>
      )}
    </div>
  );
}

/** What was asked for, or that it is on its way, or why it did not come. */
export function Answered<T>({ answer, children }: { answer: Answer<T>; children: (data: T) => ComponentChildren }) {
  if (answer.data !== undefined) return <>{children(answer.data)}</>;
  return answer.error === undefined ? <Loading /> : <Failure error={answer.error} retry={answer.reload} />;
}
