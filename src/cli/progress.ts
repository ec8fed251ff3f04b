import type { StageProgress } from '../experiment/stage.js';
import { note } from './output.js';
import { LiveLine } from './terminal.js';

/** Seconds between two lines where there is no terminal to write over. */
const QUIET_INTERVAL = 30;

interface Tracked {
  progress: StageProgress;
  /** Rows that were there when the session began, and when that was (seconds) */
  readonly initial: number;
  readonly since: number;
}

/** Where a run stands: one line on a terminal, a line every half a minute and at the end of a stage elsewhere. */
export class ProgressLine {
  private readonly live: LiveLine;
  private readonly stages = new Map<string, Tracked>();
  private readonly finished = new Set<string>();

  /** @param now seconds, of a clock that only goes forward */
  constructor(private readonly now = () => performance.now() / 1000) {
    this.live = new LiveLine(QUIET_INTERVAL, now);
  }

  show(progress: StageProgress): void {
    if (this.finished.has(progress.stage)) return;
    const tracked = this.stages.get(progress.stage);
    if (tracked) tracked.progress = progress;
    else {
      const since = this.now();
      this.stages.set(progress.stage, { progress, initial: progress.done, since });
    }
    if (progress.done === progress.total) {
      this.finished.add(progress.stage);
      this.live.clear();
      note(describeStage(this.stages.get(progress.stage)!, this.now()));
      this.stages.delete(progress.stage);
    }
    const open = [...this.stages.values()].map((each) => describeStage(each, this.now()));
    if (open.length > 0) this.live.show(open.join(' | '));
  }

  end(): void {
    this.live.clear();
  }
}

/** Such as `respond-sda 12/100, 1 failed, 3.1 a minute, 41 tokens/s, 28 min left`. */
export function describeStage({ progress, initial, since }: Tracked, now: number): string {
  const { stage, done, total, failed, tokens } = progress;
  const seconds = now - since;
  const fresh = done - initial;
  const parts = [`${stage} ${done}/${total}`];
  if (initial > 0 && initial < total) parts.push(`${initial} there already`);
  if (failed > 0) parts.push(`${failed} failed`);
  if (fresh > 0 && seconds > 0) parts.push(`${perMinute((60 * fresh) / seconds)} a minute`);
  if (tokens > 0 && seconds > 0) parts.push(`${(tokens / seconds).toFixed(0)} tokens/s`);
  if (fresh > 0 && done < total) parts.push(`${duration(((total - done) * seconds) / fresh)} left`);
  if (done === total) parts.push(fresh > 0 ? duration(seconds) : 'there already');
  return parts.join(', ');
}

function perMinute(rate: number): string {
  return rate >= 10 ? rate.toFixed(0) : rate.toPrecision(2);
}

/** Such as `40 s`, `12 min`, `3 h 5 min`. */
export function duration(seconds: number): string {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 90) return `${minutes} min`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
