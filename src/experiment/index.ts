/**
 * The public API of experiments, `sda-tfjs/experiment`: what is exported here is promised, nothing else is.
 *
 * @module sda-tfjs/experiment
 */

export { fileEvaluator } from '../evaluate/file.js';
export { fixedEvaluator } from '../evaluate/fixed.js';
export { GIBBERISH_FILTER, gibberishReason } from '../evaluate/gibberish.js';
export { bootstrapNetWins, type Interval, signTest, wilson } from '../evaluate/intervals.js';
export { intrinsicScore, scoreTokens, type TokenScores } from '../evaluate/intrinsic.js';
export { type IntrinsicOptions, intrinsicEvaluator } from '../evaluate/intrinsic-evaluator.js';
export {
  type JudgeOptions,
  type Pair,
  PairJudge,
  type PairResult,
} from '../evaluate/judge.js';
export { OpenAiEvaluator, type OpenAiEvaluatorOptions } from '../evaluate/openai.js';
export type {
  Evaluator,
  EvaluatorInput,
  Failed,
  FailureKind,
  Provenance,
  Scored,
} from '../evaluate/types.js';
export {
  type Estimate,
  type JudgedPair,
  type WinRates,
  winRates,
} from '../evaluate/win-rates.js';
export { ALIGNER_PROMPT, alignerRequest } from './aligner.js';
export type { Comparison, Lengths } from './comparisons.js';
export { type ExperimentConfig, parseConfig, readConfig } from './config.js';
export { type DataSet, type DataSetSpec, loadDataSet } from './data/index.js';
export { type ExperimentOptions, type ExperimentResult, runExperiment } from './pipeline.js';
export type * from './rows.js';
export type { StageProgress } from './stage.js';
export { readRun } from './store/index.js';
export { type RunSummary, summarizeRun } from './summary.js';
export { resultsTable } from './table.js';
