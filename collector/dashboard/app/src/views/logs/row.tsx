import { parseAnsi } from "../../format/ansi.ts";
import { parseJsonLine } from "../../format/json_line.ts";
import { exact, preciseTime } from "../../format/times.ts";
import type { Line } from "./lines.ts";

export const LINE_HEIGHT = 23;

export interface LineRowProps {
  line: Line;
  nodeName: string;
  isSelected: boolean;
  /** What the search found is marked. */
  text: string;
  onSelect: (line: Line) => void;
}

export function LineRow({ line, nodeName, isSelected, text, onSelect }: LineRowProps) {
  return (
    <button
      type="button"
      class={`line level-${(line.level ?? "none").toLowerCase()}`}
      aria-pressed={isSelected}
      onClick={() => onSelect(line)}
    >
      <time class="line-time" dateTime={new Date(line.at).toISOString()} title={exact(line.at)}>
        {preciseTime(line.at)}
      </time>
      <span class="line-level">{line.level ?? ""}</span>
      <span class="line-place" title={`${nodeName} ${line.pipelineId}`}>
        {nodeName} <span class="faint">{line.pipelineId}</span>
      </span>
      <span class="line-text">
        <LineText line={line.line} text={text} />
      </span>
    </button>
  );
}

function LineText({ line, text }: { line: string; text: string }) {
  const json = parseJsonLine(line);
  if (json === undefined) {
    return (
      <>
        {parseAnsi(line).map(({ text: part, className }, index) => (
          <span key={index} class={className}>
            <Marked text={part} wanted={text} />
          </span>
        ))}
      </>
    );
  }
  return (
    <>
      {json.message !== "" && (
        <span class="json-message">
          <Marked text={json.message} wanted={text} />
        </span>
      )}
      {json.fields.map(([name, value]) => (
        <span key={name} class="json-field">
          <span class="json-name">{name}=</span>
          <Marked text={value} wanted={text} />
        </span>
      ))}
    </>
  );
}

function Marked({ text, wanted }: { text: string; wanted: string }) {
  if (wanted === "") return <>{text}</>;
  const at = text.toLowerCase().indexOf(wanted.toLowerCase());
  if (at < 0) return <>{text}</>;
  return (
    <>
      {text.slice(0, at)}
      <mark>{text.slice(at, at + wanted.length)}</mark>
      {text.slice(at + wanted.length)}
    </>
  );
}
