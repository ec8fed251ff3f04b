import { z } from 'zod';
import { KV_DTYPES } from '../model/kv-dtype.js';

/** `dtype` of a model in a configuration. */
export const loadDtypeSchema = z
  .enum(['auto', 'bfloat16', 'float16', 'float32', 'int8', 'int4'])
  .default('auto');

/**
 * `kv` of a model in a configuration: the type of keys and values. Absent where it is float32, the default, so that runs
 * which began before there was another go on.
 */
export const kvSchema = z
  .enum(KV_DTYPES)
  .transform((kv) => (kv === 'float32' ? undefined : kv))
  .optional();
