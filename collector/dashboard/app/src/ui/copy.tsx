import { useState } from "preact/hooks";
import { Icon } from "./icons.tsx";

export function CopyButton({ text, label }: { text: string | (() => string); label: string }) {
  const [isDone, setDone] = useState(false);
  const copy = async () => {
    await copyText(typeof text === "string" ? text : text());
    setDone(true);
    setTimeout(() => setDone(false), 1_500);
  };
  return (
    <button
      type="button"
      class="icon-button"
      aria-label={isDone ? "Copied" : label}
      title={isDone ? "Copied" : label}
      onClick={() => void copy()}
    >
      {isDone ? <span class="done">✓</span> : <Icon name="copy" size={16} />}
    </button>
  );
}

/** Pages without TLS have no clipboard of their own. */
async function copyText(text: string): Promise<void> {
  if (navigator.clipboard !== undefined) return navigator.clipboard.writeText(text);
  const area = document.createElement("textarea");
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

export function download(name: string, text: string, type = "text/plain"): void {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const anchor = document.createElement("a");
  anchor.href = url;
  anchor.download = name;
  anchor.click();
  setTimeout(() => URL.revokeObjectURL(url), 1_000);
}
