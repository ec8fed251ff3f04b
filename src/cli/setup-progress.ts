import type { Report } from '../setup/report.js';
import { canReplace, LiveLine, writeLine } from './terminal.js';

/** Seconds between two lines where there is no terminal to write over. */
const QUIET_INTERVAL = 5;

/** Shows the events of a set-up on stderr: what goes on as a live line, what is done as a line that stays. */
export function showSetup(): Report {
  const live = new LiveLine(QUIET_INTERVAL);
  return ({ kind, text }) => {
    if (kind === 'progress') {
      live.show(`  ${text}`);
      return;
    }
    live.clear();
    if (kind === 'start' && canReplace()) live.show(`  ${text}`);
    else writeLine(text);
  };
}
