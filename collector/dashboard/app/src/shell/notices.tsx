import { dismiss, notices } from "../state/notices.ts";
import { isKiosk } from "../state/route.ts";
import type { Tone } from "../state/status.ts";
import { Icon } from "../ui/icons.tsx";
import { Shape } from "../ui/status.tsx";

const TONES: Readonly<Record<string, Tone>> = { error: "bad", warning: "warn", info: "off", success: "ok" };

/** The one live region of the page. */
export function Notices() {
  return (
    <div class="notices" role="log" aria-live="polite" aria-label="Notices">
      {notices.value.map(({ id, kind, title, text, href }) => (
        <div key={id} class={`notice is-${kind}`}>
          <Shape tone={TONES[kind] ?? "off"} size={14} />
          <div class="notice-text">
            {href === undefined || isKiosk ? (
              <strong>{title}</strong>
            ) : (
              <a href={href} onClick={() => dismiss(id)}>
                {title}
              </a>
            )}
            {text !== "" && <span>{text}</span>}
          </div>
          {!isKiosk && (
            <button type="button" class="icon-button" aria-label="Dismiss" onClick={() => dismiss(id)}>
              <Icon name="close" size={14} />
            </button>
          )}
        </div>
      ))}
    </div>
  );
}
