/** Fields of the bars above lists. */

import { Icon } from "./icons.tsx";

/** Search in the view; `/` leads to it. */
export function SearchField({
  label,
  placeholder = label,
  value,
  onChange,
}: {
  label: string;
  placeholder?: string;
  value: string;
  onChange: (text: string) => void;
}) {
  return (
    <label class="search">
      <Icon name="search" size={16} />
      <input
        type="search"
        aria-label={label}
        placeholder={placeholder}
        value={value}
        onInput={({ currentTarget }) => onChange(currentTarget.value)}
      />
      <kbd>/</kbd>
    </label>
  );
}

/** One of several values, or all of them. */
export function Choice({
  label,
  all,
  value,
  options,
  onChange,
}: {
  label: string;
  /** What is said when nothing is chosen. */
  all: string;
  value: string | undefined;
  options: readonly { value: string; title: string }[];
  onChange: (value: string) => void;
}) {
  const isListed = value === undefined || value === "" || options.some((option) => option.value === value);
  return (
    <select aria-label={label} value={value ?? ""} onChange={({ currentTarget }) => onChange(currentTarget.value)}>
      <option value="">{all}</option>
      {options.map((option) => (
        <option key={option.value} value={option.value}>
          {option.title}
        </option>
      ))}
      {!isListed && <option value={value}>{value}</option>}
    </select>
  );
}
