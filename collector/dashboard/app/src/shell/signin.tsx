import { useState } from "preact/hooks";
import { signIn } from "../state/session.ts";
import { Brand } from "../ui/brand.tsx";
import { CopyButton } from "../ui/copy.tsx";

const COMMAND = "systole-collector token create --kind viewer --data-dir /var/lib/systole";

export function SignIn({ reason }: { reason: string | undefined }) {
  const [isRunning, setRunning] = useState(false);
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    const token = new FormData(event.currentTarget as HTMLFormElement).get("token");
    if (typeof token !== "string" || token.trim() === "") return;
    setRunning(true);
    void signIn(token).finally(() => setRunning(false));
  };
  return (
    <main class="signin">
      <div class="signin-card">
        <Brand size={56} />
        <h1>Systole</h1>
        <form onSubmit={submit}>
          <label for="token">A viewer's, operator's or admin's token</label>
          <input
            id="token"
            name="token"
            type="password"
            autocomplete="current-password"
            placeholder="systole_viewer_…"
            ref={(element) => element?.focus()}
          />
          {reason !== undefined && (
            <p class="error" role="alert">
              {reason}
            </p>
          )}
          <button type="submit" class="primary" disabled={isRunning}>
            Sign in
          </button>
        </form>
        <p class="faint">
          The browser receives a cookie for 12 hours. The token itself is not kept. A token is made on the collector's
          host:
        </p>
        <div class="command">
          <code>{COMMAND}</code>
          <CopyButton text={COMMAND} label="Copy the command" />
        </div>
      </div>
    </main>
  );
}
