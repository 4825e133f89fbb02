/** A state is a shape, a word and a colour, so that none of them has to be seen alone. */

import { type Tone, toneOf, wordOf } from "../state/status.ts";

const SHAPES: Readonly<Record<Tone, preact.JSX.Element>> = {
  ok: <circle cx="6" cy="6" r="4.5" fill="currentColor" />,
  warn: <path d="M6 1.2 11.3 10.6H.7Z" fill="currentColor" />,
  bad: <path d="M3.6.8h4.8l2.8 2.8v4.8l-2.8 2.8H3.6L.8 8.4V3.6Z" fill="currentColor" />,
  lost: <path d="M6 .8 11.2 6 6 11.2.8 6Z" fill="currentColor" />,
  busy: (
    <>
      <circle cx="6" cy="6" r="4.4" fill="none" stroke="currentColor" stroke-width="1.6" />
      <path d="M6 1.6a4.4 4.4 0 0 1 0 8.8Z" fill="currentColor" />
    </>
  ),
  off: <circle cx="6" cy="6" r="4" fill="none" stroke="currentColor" stroke-width="1.8" />,
  unknown: (
    <path
      d="M6 1.6 10.4 6 6 10.4 1.6 6Z"
      fill="none"
      stroke="currentColor"
      stroke-width="1.6"
      stroke-dasharray="2.2 1.4"
    />
  ),
};

export function Shape({ tone, size = 12 }: { tone: Tone; size?: number }) {
  return (
    <svg class={`shape tone-${tone}`} width={size} height={size} viewBox="0 0 12 12" aria-hidden="true">
      {SHAPES[tone]}
    </svg>
  );
}

export function Status({ status, title }: { status: string; title?: string | undefined }) {
  return <ToneWord tone={toneOf(status)} word={wordOf(status)} title={title} />;
}

/** The same for what is made of several states. */
export function ToneWord({ tone, word, title }: { tone: Tone; word: string; title?: string | undefined }) {
  return (
    <span class={`status tone-${tone}`} title={title}>
      <Shape tone={tone} />
      <span class="status-word">{word}</span>
    </span>
  );
}
