/**
 * Parses bytes into Server-Sent Events, exactly as the HTML standard says (9.2.6, "Interpreting an event stream").
 *
 * Unlike a browser's EventSource it reports the id of each block, and ids without an event: with those the feed moves
 * the position of a client that receives few events.
 */

/** One event of the stream. */
export interface ServerSentEvent {
  /** `event:`, or "message". */
  type: string;
  /** The lines of `data:`, joined by LF. */
  data: string;
  /** The id of this event; undefined when it had none. */
  id: string | undefined;
}

/** Calls of a parser, in the order of the stream. */
export interface ParserHandlers {
  /** An event is complete. */
  onEvent(event: ServerSentEvent): void;
  /** A block without data had an id. */
  onId?(id: string): void;
  /** How long to wait before the next connection, in milliseconds. */
  onRetry?(ms: number): void;
}

const DIGITS = /^[0-9]+$/;

/** Parses the bytes of one stream. An event that no blank line ends is not reported. */
export class EventStreamParser {
  // Removes one byte order mark, replaces invalid UTF-8, and joins characters that were split.
  readonly #decoder = new TextDecoder();
  readonly #handlers: ParserHandlers;
  /** The beginning of a line whose end was not received yet. */
  #line = "";
  /** The last character was a CR: an LF that follows belongs to it. */
  #afterCr = false;
  #type = "";
  #data: string | undefined;
  #id: string | undefined;

  constructor(handlers: ParserHandlers) {
    this.#handlers = handlers;
  }

  /** Parses the next bytes. They may be cut anywhere. */
  push(bytes: Uint8Array): void {
    const text = this.#decoder.decode(bytes, { stream: true });
    let from = 0;
    if (this.#afterCr && text.length > 0) {
      this.#afterCr = false;
      if (text[0] === "\n") from = 1;
    }
    // Most streams have one kind of line end. The other is searched once per call, not once per line.
    let lf = text.indexOf("\n", from);
    let cr = text.indexOf("\r", from);
    while (lf >= 0 || cr >= 0) {
      const isCr = cr >= 0 && (lf < 0 || cr < lf);
      const end = isCr ? cr : lf;
      this.#parseLine(this.#line + text.slice(from, end));
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

  #parseLine(line: string): void {
    if (line === "") {
      this.#endBlock();
      return;
    }
    // A comment is a field without a name. Unknown fields are skipped.
    const colon = line.indexOf(":");
    if (colon < 0) {
      this.#setField(line, "");
      return;
    }
    const value = colon + (line[colon + 1] === " " ? 2 : 1);
    this.#setField(line.slice(0, colon), line.slice(value));
  }

  #setField(name: string, value: string): void {
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
