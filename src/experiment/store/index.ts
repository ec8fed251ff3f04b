import { existsSync, mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { z } from 'zod';
import { messageOf, SdaError } from '../../errors.js';
import { checkedLines, readJsonLines } from '../../evaluate/json-lines.js';
import {
  againstBase,
  type Item,
  ROW_SCHEMA,
  type Row,
  type RunData,
  type RunHeader,
  type RunSession,
} from '../rows.js';
import {
  judgeStage,
  pairingName,
  respondStage,
  responseSchema,
  SCORE_STAGE,
  scoreSchema,
  verdictSchema,
} from '../stages.js';
import { differences } from './differences.js';
import { replaceFile, writing } from './files.js';
import { lockFolder } from './lock.js';
import { readRows, StageFile } from './stage-file.js';

export { StageFile } from './stage-file.js';

const HEADER = 'run.json';
const ITEMS = 'items.jsonl';
const SESSIONS = 'sessions.jsonl';

/**
 * A run's folder: `run.json` (what it is), `items.jsonl` (its queries), `sessions.jsonl` (when, where and with what it
 * was worked on) and `rows/STAGE.jsonl`. One process writes; any may read.
 */
export class RunStore {
  private readonly stages: StageFile<unknown>[] = [];

  private constructor(
    readonly dir: string,
    private readonly release: () => void,
  ) {}

  /**
   * Begins a run, or goes on with one. A folder in which nothing is done yet, such as that of a start whose model did not
   * load, is begun anew where the settings have changed.
   *
   * @throws SdaError `bad-input` where another process writes it, where it was made with other settings (naming
   *   them), and for a folder that holds something else; `bad-file` where its files are damaged
   */
  static open(
    dir: string,
    header: RunHeader,
    session: RunSession,
    items: readonly Item[],
  ): RunStore {
    if (!existsSync(join(dir, HEADER))) refuseOthers(dir);
    writing(join(dir, HEADER), () => mkdirSync(join(dir, 'rows'), { recursive: true }));
    const release = lockFolder(dir);
    try {
      const there = existsSync(join(dir, HEADER)) ? readHeader(dir) : null;
      if (there && (there.configHash === header.configHash || hasRows(dir)))
        expectSame(dir, there, header);
      else {
        const lines = items.map((item) => `${JSON.stringify(item)}\n`).join('');
        replaceFile(join(dir, ITEMS), lines);
        replaceFile(join(dir, HEADER), `${JSON.stringify(header, null, 2)}\n`);
      }
      const sessions = join(dir, SESSIONS);
      const all = [...readLines(sessions, sessionSchema), session];
      replaceFile(sessions, all.map((each) => `${JSON.stringify(each)}\n`).join(''));
      return new RunStore(dir, release);
    } catch (error) {
      release();
      throw error;
    }
  }

  /** Opens the file of a stage; see `StageFile`. */
  stage<T>(name: string, schema: z.ZodType<T>): StageFile<T> {
    const file = new StageFile(stageFile(this.dir, name), schema);
    this.stages.push(file as StageFile<unknown>);
    return file;
  }

  /** Brings everything to the disk and gives the folder back. */
  close(): void {
    const failures: unknown[] = [];
    for (const close of [...this.stages.map((stage) => () => stage.close()), this.release]) {
      try {
        close();
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 0) throw failures[0];
  }
}

/**
 * Reads a run, whether it is finished, interrupted or being written right now.
 *
 * @throws SdaError `file-missing` for a folder that holds no run, `bad-file` where its files are damaged
 */
export function readRun(dir: string): RunData {
  const header = readHeader(dir);
  const rows = <T>(stage: string, schema: z.ZodType<T>): ReadonlyMap<string, Row<T>> =>
    readRows(stageFile(dir, stage), schema).rows;
  const begun = <K, T>(stages: readonly (readonly [K, string])[], schema: z.ZodType<T>) =>
    new Map(
      stages
        .filter(([, stage]) => existsSync(stageFile(dir, stage)))
        .map(([key, stage]) => [key, rows(stage, schema)] as const),
    );
  return {
    dir,
    header,
    sessions: readLines(join(dir, SESSIONS), sessionSchema),
    items: readLines(join(dir, ITEMS), itemSchema),
    responses: begun(
      header.methods.map((method) => [method, respondStage(method)] as const),
      responseSchema,
    ),
    scores: rows(SCORE_STAGE, scoreSchema),
    verdicts: begun(
      header.comparisons.map((pairing) => [pairingName(pairing), judgeStage(pairing)] as const),
      verdictSchema,
    ),
  };
}

const itemSchema = z.object({
  id: z.string(),
  query: z.string(),
  labels: z.record(z.string(), z.string()),
});

const sessionSchema = z.looseObject({
  at: z.string(),
  versions: z.record(z.string(), z.string()),
  machine: z.string(),
  git: z.string().nullable(),
  options: z.record(z.string(), z.unknown()),
}) satisfies z.ZodType<RunSession>;

// a part of file names
const methodName = z.string().regex(/^[\w.-]{1,64}$/);

const headerSchema = z.looseObject({
  schema: z.int(),
  name: z.string(),
  config: z.record(z.string(), z.unknown()),
  configHash: z.string(),
  methods: z.array(methodName),
  rules: z
    .record(
      methodName,
      z.looseObject({ rule: z.string(), settings: z.record(z.string(), z.unknown()) }),
    )
    .optional(),
  comparisons: z.array(z.object({ method: methodName, against: methodName })).optional(),
  judge: z.string().nullable(),
});

/** @throws SdaError `file-missing`, `bad-file` */
function readHeader(dir: string): RunHeader {
  const file = join(dir, HEADER);
  if (!existsSync(file)) {
    throw new SdaError(
      'file-missing',
      `The folder ${dir} holds no run (it has no ${HEADER}): give the folder of one, as "sda run" makes it.`,
    );
  }
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    throw new SdaError(
      'bad-file',
      `${file} is no JSON (${messageOf(error)}): the run is damaged.`,
      {
        cause: error,
      },
    );
  }
  const parsed = headerSchema.safeParse(value);
  if (!parsed.success) {
    const { path, message } = parsed.error.issues[0]!;
    throw new SdaError('bad-file', `${file}: ${path.join('.')}: ${message}: the run is damaged.`);
  }
  if (parsed.data.schema !== ROW_SCHEMA) {
    throw new SdaError(
      'bad-file',
      `The run in ${dir} was made with version ${parsed.data.schema} of its files, but this is version ${ROW_SCHEMA}: use the release that made it, or begin a new run in another folder.`,
    );
  }
  const { judge, methods, comparisons = judge === null ? [] : againstBase(methods) } = parsed.data;
  return { ...parsed.data, comparisons } as unknown as RunHeader;
}

function hasRows(dir: string): boolean {
  const rows = join(dir, 'rows');
  return readdirSync(rows).some((name) => statSync(join(rows, name)).size > 0);
}

function expectSame(dir: string, there: RunHeader, wanted: RunHeader): void {
  if (there.configHash === wanted.configHash) return;
  const found = differences(there.config, wanted.config);
  const shown = found.slice(0, 3).join('; ');
  const more = found.length > 3 ? `; and ${found.length - 3} more` : '';
  throw new SdaError(
    'bad-input',
    `The run in ${dir} was made with other settings (${shown}${more}): give another folder with --out, or the settings of ${join(dir, HEADER)}.`,
  );
}

function refuseOthers(dir: string): void {
  const names = existsSync(dir) ? readdirSync(dir) : [];
  // what a run leaves that was ended before its header was written
  const others = names.filter(
    (name) =>
      !/^(rows|lock.*|items\.jsonl|run\.json\.draft|items\.jsonl\.draft|answers)$/.test(name),
  );
  if (others.length === 0) return;
  throw new SdaError(
    'bad-input',
    `The folder ${dir} holds something else than a run (${others.slice(0, 3).join(', ')}): give a new folder with --out.`,
  );
}

function stageFile(dir: string, stage: string): string {
  return join(dir, 'rows', `${stage}.jsonl`);
}

/** Lines of JSON; one that is being written right now is left out. */
function readLines<T>(file: string, schema: z.ZodType<T>): T[] {
  const advice = `${basename(file)} is damaged: mend or delete that line`;
  return checkedLines(readJsonLines(file, advice), schema, file, advice);
}
