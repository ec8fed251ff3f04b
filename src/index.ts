/**
 * The public API: what is exported here is promised, nothing else is.
 *
 * @module sda-tfjs
 */
export type { AdapterSource } from './checkpoint/adapter/merge.js';
export { type DecodeEvent, decode, type FinishReason, type Query } from './decode/generate.js';
export type { GivenLogProbs, TokenLogProb } from './decode/given-tokens.js';
export {
  type EngineChoice,
  type OpenModelOptions,
  openModel,
  type RemoteEngine,
} from './engine/open-model.js';
export { RemoteModel } from './engine/remote-model.js';
export { type ErrorCode, SdaError } from './errors.js';
export type { AnsweringModel, TextModel } from './generate/answering.js';
export type { BeamAnswer, BeamRequest } from './generate/beams.js';
export type { RankedAnswer } from './generate/best-of.js';
export { type OpenEngineOptions, openEngine, SdaEngine } from './generate/engine.js';
export { JUPYTER_DISPLAY, type Picture } from './generate/picture.js';
export { type LoadOptions, loadModel, SdaModel } from './generate/sda-model.js';
export type {
  BatchOptions,
  BatchStep,
  GenerateRequest,
  GenerateStep,
  GenerateSummary,
  SdaRule,
  StepOf,
  StreamRequest,
} from './generate/types.js';
export { AMPLIFICATIONS, type AmplificationName, amplify } from './method/amplification.js';
export type {
  Blend,
  BlendChoice,
  BlendDetails,
  Mask,
  Temperature,
} from './method/blend.js';
export { type ConformanceCase, conformanceStep } from './method/conformance.js';
export type { LayerChoice } from './method/layer-contrast.js';
export {
  type Choice,
  type Draw,
  type GivenStreams,
  readDraw,
  type StepDraws,
  type StepRule,
} from './method/rule.js';
export {
  DEFAULT_SETTINGS,
  MODES,
  type Mode,
  PRESETS,
  resolveSettings,
  type SdaSettings,
} from './method/settings.js';
export { type SdaStep, sdaDistribution, sdaRule, type TokenChoice } from './method/step.js';
export type { Tap, Tapped, TappedModel } from './method/taps.js';
export type { ModelConfig } from './model/config.js';
export type { KvDtype } from './model/kv-dtype.js';
export type { LoadProgress, WeightDtype } from './model/load.js';
export type { QuantisedDtype } from './model/quantised-checkpoint.js';
export { type QuantiseOptions, quantiseModel } from './quantise/quantise.js';
export {
  contextSteering,
  RULES,
  ruleNamed,
  sdaSeveral,
  selfDebiasing,
} from './rules/catalogue.js';
export {
  blendRule,
  type ChoiceOf,
  type Mixture,
  type Rule,
  resolveSettingsOf,
  SAMPLING,
  type Sampling,
  type SettingsOf,
  type StreamOf,
  type StreamSource,
} from './rules/define.js';
export { type HostQuery, type HostScore, hostRule } from './rules/host.js';
export { type ScoreChoice, scoreRule } from './rules/score.js';
export type { NamedTap } from './rules/taps.js';
export { type RuntimeInfo, startTensorFlow } from './runtime/tensorflow.js';
export type { TemplateVariables } from './text/chat-template.js';
export { CORES, type CoreName, INSTRUCTIONS } from './text/instructions.js';
export { opensThinking, type Reasoning, splitReasoning, type TextPart } from './text/reasoning.js';
