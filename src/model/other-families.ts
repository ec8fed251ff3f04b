const EXPERTS = 'several experts in the place of an MLP';
const LAYER_NORM = 'LayerNorm';
const GEMMA = 'GeGLU, norms that multiply by 1 + weight';

/** What a decoder layer here cannot do and a family of that `model_type` needs. Source: transformers 5.24. */
const MISSING = new Map<string, string>([
  ['gemma', GEMMA],
  ['gemma2', `${GEMMA}, soft caps on scores and logits`],
  ['gemma3_text', `${GEMMA}, another rotation in layers with a window`],
  ['gemma3', `${GEMMA}, another rotation in layers with a window`],
  ['olmo', `${LAYER_NORM} without weights`],
  ['olmo3', 'another rotation in layers with a window'],
  ['phi', `${LAYER_NORM}, attention and MLP side by side, an MLP without a gate`],
  ['cohere', `${LAYER_NORM}, attention and MLP side by side`],
  ['cohere2', `${LAYER_NORM}, attention and MLP side by side`],
  ['stablelm', LAYER_NORM],
  ['starcoder2', `${LAYER_NORM}, an MLP without a gate`],
  ['glm', 'rotation of neighbouring dimensions'],
  ['glm4', 'rotation of neighbouring dimensions, norms before and after'],
  ...['mixtral', 'qwen2_moe', 'qwen3_moe', 'phimoe', 'olmoe', 'granitemoe', 'gpt_oss'].map(
    (name) => [name, EXPERTS] as const,
  ),
]);

/** What a family that is not supported needs; null where that is not known. */
export function missingFor(modelType: string): string | null {
  return MISSING.get(modelType) ?? null;
}
