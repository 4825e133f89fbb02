/** Lines of programs with ANSI colours, as parts with a class each. Everything else that a terminal obeys is removed. */

export interface Part {
  text: string;
  /** Classes of the style sheet: `ansi-1` to `ansi-15`, `ansi-bold`. Colours beyond these sixteen keep the text's own. */
  className: string;
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: colours begin with a control character
const SEQUENCE = /\x1b(?:\[([0-9;:]*)([@-~])|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\^_])/g;

export function hasAnsi(line: string): boolean {
  return line.includes("\x1b");
}

export function withoutAnsi(line: string): string {
  return hasAnsi(line) ? line.replace(SEQUENCE, "") : line;
}

interface Style {
  colour: number | undefined;
  isBold: boolean;
}

export function parseAnsi(line: string): Part[] {
  if (!hasAnsi(line)) return [{ text: line, className: "" }];
  const parts: Part[] = [];
  let style: Style = { colour: undefined, isBold: false };
  let from = 0;
  const push = (to: number) => {
    if (to > from) parts.push({ text: line.slice(from, to), className: classOf(style) });
  };
  for (const found of line.matchAll(SEQUENCE)) {
    push(found.index);
    from = found.index + found[0].length;
    if (found[2] === "m") style = applyCodes(style, found[1] ?? "");
  }
  push(line.length);
  return parts;
}

function classOf({ colour, isBold }: Style): string {
  return [colour === undefined ? "" : `ansi-${colour}`, isBold ? "ansi-bold" : ""].filter(Boolean).join(" ");
}

function applyCodes(before: Style, text: string): Style {
  let style = before;
  const codes = text.split(/[;:]/).map(Number);
  for (let index = 0; index < codes.length; index += 1) {
    const code = codes[index] ?? 0;
    if (code === 0) style = { colour: undefined, isBold: false };
    else if (code === 1) style = { ...style, isBold: true };
    else if (code === 22) style = { ...style, isBold: false };
    else if (code >= 30 && code <= 37) style = { ...style, colour: code - 30 };
    else if (code >= 90 && code <= 97) style = { ...style, colour: code - 90 + 8 };
    else if (code === 39) style = { ...style, colour: undefined };
    else if (code === 38 || code === 48) {
      // 5;n is a colour of a palette, 2;r;g;b one of the whole space.
      const palette = codes[index + 1] === 5 ? codes[index + 2] : undefined;
      if (code === 38) style = { ...style, colour: palette !== undefined && palette < 16 ? palette : undefined };
      index += codes[index + 1] === 5 ? 2 : 4;
    }
  }
  return style;
}
