/** A unified diff. Lines say by their sign what they are, and by their colour too. */

export function DiffText({ text }: { text: string }) {
  if (text === "") return <p class="faint">The two are equal.</p>;
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls must be reachable by keyboard
    <pre class="diff" tabIndex={0}>
      {text.split("\n").map((line, index) => (
        <span key={index} class={classOf(line)}>
          {line}
          {"\n"}
        </span>
      ))}
    </pre>
  );
}

function classOf(line: string): string {
  if (line.startsWith("@@")) return "diff-place";
  if (line.startsWith("+++") || line.startsWith("---")) return "diff-file";
  if (line.startsWith("+")) return "diff-added";
  if (line.startsWith("-")) return "diff-removed";
  return "";
}
