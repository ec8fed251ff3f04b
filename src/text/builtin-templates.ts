/** The built-in template that adds nothing: texts as they are, for models that were not trained to chat. */
export const PLAIN = 'none';

/**
 * Prompt formats of models that ship no chat template, as Jinja: written from the formats' public
 * descriptions (FastChat's "vicuna_v1.1", OpenAI's ChatML, Meta's Llama 2 reference code).
 */
export const BUILTIN_TEMPLATES = {
  vicuna: `{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ messages[0]['content'] }}{% set turns = messages[1:] %}{% else %}A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite answers to the user's questions.{% set turns = messages %}{% endif %}{% for message in turns %}{% if message['role'] == 'user' %} USER: {{ message['content'] }}{% else %} ASSISTANT: {{ message['content'] }}{{ eos_token }}{% endif %}{% endfor %}{% if add_generation_prompt %} ASSISTANT:{% endif %}`,
  chatml: `{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}`,
  'llama-2': `{% if messages[0]['role'] == 'system' %}{% set system = '<<SYS>>\\n' + messages[0]['content'] + '\\n<</SYS>>\\n\\n' %}{% set turns = messages[1:] %}{% else %}{% set system = '' %}{% set turns = messages %}{% endif %}{% for message in turns %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + (system if loop.first else '') + message['content'] | trim + ' [/INST]' }}{% else %}{{ ' ' + message['content'] | trim + ' ' + eos_token }}{% endif %}{% endfor %}`,
  [PLAIN]: `{% for message in messages %}{{ message['content'] }}{% if not loop.last %}{{ '\\n' }}{% endif %}{% endfor %}`,
} as const;

/** A built-in template's name. */
export type BuiltinTemplate = keyof typeof BUILTIN_TEMPLATES;

/** The names that {@link BUILTIN_TEMPLATES} has. */
export function isBuiltinTemplate(name: string): name is BuiltinTemplate {
  return Object.hasOwn(BUILTIN_TEMPLATES, name);
}
