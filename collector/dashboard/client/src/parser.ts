/**
 * Server-Sent Events out of bytes, to the letter of the HTML standard (9.2.6, "Interpreting an event stream").
 *
 * Beside what a browser's EventSource shows, it tells each block's own id, and ids that come without an event: the feed
 * moves a quiet client's place on with them.
 */

/** One event of the stream. */
export interface ServerSentEvent {
  /** `event:`, or "message". */
  type: string;
  /** The lines of `data:`, joined by LF. */
  data: string;
  /** The id that this very event came with; undefined when it had none. */
  id: string | undefined;
}

/** What a parser tells, in the order of the stream. */
export interface ParserHandlers {
  /** An event is whole. */
  onEvent(event: ServerSentEvent): void;
  /** A block without data had an id. */
  onId?(id: string): void;
  /** How long to wait before connecting anew, in milliseconds. */
  onRetry?(ms: number): void;
}

const DIGITS = /^[0-9]+$/;

/** Takes a stream's bytes as they come. What is not followed by a blank line is never told. */
export class EventStreamParser {
  // Takes off one byte order mark, replaces what is no UTF-8, and joins characters that were split.
  readonly #decoder = new TextDecoder();
  readonly #handlers: ParserHandlers;
  /** The beginning of a line whose end has not come yet. */
  #line = "";
  /** The last character was a CR: an LF that follows belongs to it. */
  #afterCr = false;
  #type = "";
  #data: string | undefined;
  #id: string | undefined;

  constructor(handlers: ParserHandlers) {
    this.#handlers = handlers;
  }

  /** Takes the next bytes, cut anywhere. */
  push(bytes: Uint8Array): void {
    const text = this.#decoder.decode(bytes, { stream: true });
    let from = 0;
    if (this.#afterCr && text.length > 0) {
      this.#afterCr = false;
      if (text[0] === "\n") from = 1;
    }
    // Most streams have one kind of line end: the other is looked for once per call, not per line.
    let lf = text.indexOf("\n", from);
    let cr = text.indexOf("\r", from);
    while (lf >= 0 || cr >= 0) {
      const isCr = cr >= 0 && (lf < 0 || cr < lf);
      const end = isCr ? cr : lf;
      this.#takeLine(this.#line + text.slice(from, end));
      this.#line = "";
      from = end + 1;
      if (isCr) {
        if (from === text.length) this.#afterCr = true;
        else if (lf === from) from += 1;
        cr = text.indexOf("\r", from);
      }
      if (lf >= 0 && lf < from) lf = text.indexOf("\n", from);
    }
    this.#line += text.slice(from);
  }

  #takeLine(line: string): void {
    if (line === "") {
      this.#endBlock();
      return;
    }
    // A comment is a field without a name, which is passed over like any unknown one.
    const colon = line.indexOf(":");
    if (colon < 0) {
      this.#takeField(line, "");
      return;
    }
    const value = colon + (line[colon + 1] === " " ? 2 : 1);
    this.#takeField(line.slice(0, colon), line.slice(value));
  }

  #takeField(name: string, value: string): void {
    switch (name) {
      case "event":
        this.#type = value;
        break;
      case "data":
        this.#data = this.#data === undefined ? value : `${this.#data}\n${value}`;
        break;
      case "id":
        if (!value.includes("\0")) this.#id = value;
        break;
      case "retry":
        if (DIGITS.test(value)) this.#handlers.onRetry?.(Number.parseInt(value, 10));
        break;
    }
  }

  #endBlock(): void {
    const [type, data, id] = [this.#type || "message", this.#data, this.#id];
    this.#type = "";
    this.#data = undefined;
    this.#id = undefined;
    if (data !== undefined) this.#handlers.onEvent({ type, data, id });
    else if (id !== undefined) this.#handlers.onId?.(id);
  }
}
