/** The browser's own dialog: it keeps the focus inside, closes with Escape, and gives the focus back. */

import { signal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { describe } from "../api/http.ts";
import { Icon } from "./icons.tsx";

export function Dialog({
  title,
  onClose,
  children,
  wide,
  isSearch,
}: {
  title: string;
  onClose: () => void;
  children: ComponentChildren;
  wide?: boolean;
  /** Near the top and without a heading: what is found below the field does not move the field. */
  isSearch?: boolean;
}) {
  const element = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    element.current?.showModal();
    // The browser would choose the button that closes it.
    element.current?.querySelector<HTMLElement>("input, select")?.focus();
  }, []);
  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: a click beside it closes it, and so does Escape
    <dialog
      ref={element}
      class={`dialog${wide === true ? " wide" : ""}${isSearch === true ? " is-search" : ""}`}
      aria-label={title}
      onClose={onClose}
      onClick={(event) => event.target === element.current && element.current?.close()}
    >
      <div class="dialog-body">
        {isSearch !== true && (
          <header>
            <h2>{title}</h2>
            <button type="button" class="icon-button" aria-label="Close" onClick={() => element.current?.close()}>
              <Icon name="close" />
            </button>
          </header>
        )}
        {children}
      </div>
    </dialog>
  );
}

interface Question {
  title: string;
  text: ComponentChildren;
  action: string;
  isDangerous?: boolean;
  act: () => Promise<unknown>;
  /** After it was done. */
  onDone?: () => void;
}

const question = signal<(Question & { error?: string; isRunning?: boolean }) | undefined>(undefined);

/** Asks before something is done, and shows why it could not be done. */
export function ask(asked: Question): void {
  question.value = asked;
}

export function Questions() {
  const asked = question.value;
  if (asked === undefined) return null;
  const run = async () => {
    question.value = { ...asked, isRunning: true };
    try {
      await asked.act();
      question.value = undefined;
      asked.onDone?.();
    } catch (error) {
      question.value = { ...asked, isRunning: false, error: describe(error) };
    }
  };
  return (
    <Dialog title={asked.title} onClose={() => (question.value = undefined)}>
      <div class="dialog-text">{asked.text}</div>
      {asked.error !== undefined && (
        <p class="error" role="alert">
          {asked.error}
        </p>
      )}
      <div class="dialog-actions">
        <button type="button" onClick={() => (question.value = undefined)}>
          Cancel
        </button>
        <button
          type="button"
          class={asked.isDangerous === true ? "danger" : "primary"}
          disabled={asked.isRunning}
          onClick={() => void run()}
        >
          {asked.action}
        </button>
      </div>
    </Dialog>
  );
}
