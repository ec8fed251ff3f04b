/** What a set-up step says while it runs; the caller decides where it goes. */
export interface SetupEvent {
  /** `start` opens a step, `progress` says how far it is, `done` closes it, `note` stands alone. */
  readonly kind: 'start' | 'progress' | 'done' | 'note';
  readonly text: string;
}

/** Receives the events of a set-up. */
export type Report = (event: SetupEvent) => void;

/** Bytes as a person reads them: `273.8 MB` (powers of 1000, as package registries count). */
export function formatBytes(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let value = bytes;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}

/** Milliseconds as seconds or minutes: `3.2 s`, `2 min 5 s`. */
export function formatDuration(milliseconds: number): string {
  if (milliseconds < 60_000) return `${(milliseconds / 1000).toFixed(1)} s`;
  const seconds = Math.round(milliseconds / 1000);
  return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}
