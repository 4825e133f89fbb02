/** Labels of nodes as a person writes them. */

/** Conditions like those of the API: `site:lab`, `role`, `!canary`; all of them must hold. */
export function labelTest(text: string): (labels: Record<string, string>) => boolean {
  const conditions = text
    .split(/[\s,]+/)
    .filter(Boolean)
    .map((condition) => {
      const isNot = condition.startsWith("!");
      const [name = "", value] = condition.replace(/^!/, "").split(/[:=]/, 2);
      return (labels: Record<string, string>) =>
        (name in labels && (value === undefined || labels[name] === value)) !== isNot;
    });
  return (labels) => conditions.every((condition) => condition(labels));
}

/** `site=lab old-`, as the command line takes it. */
export function parseLabels(text: string): Record<string, string | null> {
  const labels: Record<string, string | null> = {};
  for (const word of text.split(/\s+/).filter(Boolean)) {
    const equals = word.indexOf("=");
    if (equals > 0) labels[word.slice(0, equals)] = word.slice(equals + 1);
    else if (word.endsWith("-")) labels[word.slice(0, -1)] = null;
    else labels[word] = "";
  }
  return labels;
}
