import { checkVocabularies } from '../generate/request.js';
import type { LoadOptions, SdaModel } from '../generate/sda-model.js';
import { ruleNamed } from '../rules/catalogue.js';
import { loadTokenizer } from '../text/tokenizer.js';
import type { ExperimentConfig } from './config.js';
import { modelFingerprint } from './identity.js';
import { modelsOf, type OtherModels } from './rules.js';

/** Tells the other models of a run apart, by the names that the configuration gives them. */
export async function otherFingerprints(models: OtherModels): Promise<Record<string, string>> {
  const all: Record<string, string> = {};
  for (const [name, { dir }] of Object.entries(models)) all[name] = await modelFingerprint(dir);
  return all;
}

/**
 * That the other models of a run have the tokens of its own, before anything is decoded.
 *
 * @throws SdaError `unsupported` naming the first difference, and where a tokenizer cannot be read
 */
export async function checkOtherModels(
  { models = {} }: ExperimentConfig,
  modelDir: string,
): Promise<void> {
  const dirs = Object.values(models).map(({ dir }) => dir);
  if (dirs.length === 0) return;
  const folder = (dir: string) => ({ dir, tokenizer: () => loadTokenizer(dir) });
  await checkVocabularies(folder(modelDir), dirs.map(folder));
}

/** The models that run streams of rules, each loaded when it is first needed. */
export class OtherModelsOfRun {
  private readonly loaded = new Map<string, SdaModel>();

  constructor(
    private readonly config: Pick<ExperimentConfig, 'models'>,
    private readonly openModel: (dir: string, options: LoadOptions) => Promise<SdaModel>,
  ) {}

  /** Those of a rule, by its names for them. */
  async of(rule: string | undefined): Promise<Record<string, SdaModel>> {
    const names = rule === undefined ? [] : modelsOf(ruleNamed(rule));
    for (const name of names) {
      if (!this.loaded.has(name)) this.loaded.set(name, await this.open(name));
    }
    return Object.fromEntries(names.map((name) => [name, this.loaded.get(name)!]));
  }

  private open(name: string): Promise<SdaModel> {
    const { dir, dtype, context, chat_template } = this.config.models![name]!;
    return this.openModel(dir, { dtype, maxContext: context, chatTemplate: chat_template });
  }

  dispose(): void {
    for (const model of this.loaded.values()) model.dispose();
    this.loaded.clear();
  }
}
