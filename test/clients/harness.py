"""lm-evaluation-harness over `sda serve` and over transformers: the same log-likelihoods?

    pip install "lm-eval[api,hf]==0.4.13" torch
    npx sda serve --port 8000 &
    python test/clients/harness.py weights/SmolLM2-135M-Instruct http://127.0.0.1:8000

Two tasks of files beside this one: choices by their log-likelihood (`local-completions`, with echo and logprobs), which
must equal those of transformers in float32 within 1e-3, and answers to a chat (`local-chat-completions`). Not in the test
suite: it needs PyTorch. Exits with 1 where a number differs.
"""

import os
import sys
from pathlib import Path

LARGEST_DIFFERENCE = 1e-3


def loglikelihoods(lm_eval, manager, model, args):
    found = lm_eval.simple_evaluate(
        model=model, model_args=args, tasks=["local_choice"], task_manager=manager,
        log_samples=True, bootstrap_iters=0,
    )
    samples = sorted(found["samples"]["local_choice"], key=lambda sample: sample["doc_id"])
    return [(float(logp), str(greedy)) for sample in samples for logp, greedy in sample["filtered_resps"]]


def main():
    folder, url = Path(sys.argv[1]).resolve(), sys.argv[2]
    name = sys.argv[3] if len(sys.argv) > 3 else folder.name
    os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", OPENAI_API_KEY="none")
    os.chdir(Path(__file__).parent)  # the tasks name their files relative to this folder
    import lm_eval
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=".")
    served = {"model": name, "num_concurrent": 4, "tokenizer": str(folder), "max_length": 1024}
    completions = {**served, "base_url": f"{url}/v1/completions", "tokenizer_backend": "huggingface"}
    here = loglikelihoods(lm_eval, manager, "local-completions", completions)
    reference = {"pretrained": str(folder), "dtype": "float32", "device": "cpu"}
    there = loglikelihoods(lm_eval, manager, "hf", reference)
    differences = [abs(a[0] - b[0]) for a, b in zip(here, there, strict=True)]
    print(f"{len(here)} log-likelihoods, largest difference {max(differences):.2e}")
    same = max(differences) <= LARGEST_DIFFERENCE and [a[1] for a in here] == [b[1] for b in there]

    chat = {**served, "base_url": f"{url}/v1/chat/completions", "tokenizer_backend": "none"}
    answers = lm_eval.simple_evaluate(
        model="local-chat-completions", model_args=chat, tasks=["local_words"], task_manager=manager,
        apply_chat_template=True, log_samples=True, bootstrap_iters=0,
    )["samples"]["local_words"]
    for answer in answers:
        print(repr(answer["doc"]["question"]), "->", repr(answer["filtered_resps"][0]))
    return 0 if same and all(answer["filtered_resps"][0] for answer in answers) else 1


if __name__ == "__main__":
    sys.exit(main())
