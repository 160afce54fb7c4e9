"""SAELens' own trainer on a model's activations, timed, and the quality of any SAEs on held-out text.

    python train_reference.py train --model DIR --text FILE... --layer 9 --tokens 51200 --out sae-saelens
    python train_reference.py judge sae-saelens sae-prunelens --model DIR --text HELD_OUT --layer 9

The model is transformers' in f32, cut after the layer, so that no more is computed than must be; rows of 256 tokens of text, batches
of 1,024 drawn from a buffer of 16,384; the first token of a row, a BOS that prunelens is told to leave out, is not trained on. TopK
with the learning rate 7e-4 sqrt(16384 / d_sae), falling to 0 over the last fifth. benches/train.sh runs it beside `prunelens train`.
"""

import argparse
import json
import time

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

ROW, BATCH, BUFFER = 256, 1024, 16384


class Reader:
    def __init__(self, path, layer):
        self.tokenizer = AutoTokenizer.from_pretrained(path)
        self.model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
        self.body = self.model.base_model
        blocks = "layers" if hasattr(self.body, "layers") else "h"  # Llama and its kin; GPT-2
        setattr(self.body, blocks, getattr(self.body, blocks)[: layer + 1])
        getattr(self.body, blocks)[layer].register_forward_hook(self._keep)
        self.width = self.model.config.hidden_size

    def _keep(self, _module, _inputs, output):
        self.kept = output[0] if isinstance(output, tuple) else output

    def rows(self, files):
        ids = [i for f in files for i in self.tokenizer(open(f).read(), add_special_tokens=False).input_ids]
        n = len(ids) // (ROW - 1)
        text = torch.tensor(ids[: n * (ROW - 1)]).reshape(n, ROW - 1)
        return torch.cat([torch.full((n, 1), self.tokenizer.bos_token_id), text], 1)

    @torch.no_grad()
    def activations(self, rows):
        self.body(rows, use_cache=False)
        return self.kept[:, 1:].reshape(-1, self.width)


def batches(reader, rows, generator):
    buffer, at = torch.empty(0, reader.width), 0
    while True:
        new = []
        while len(buffer) + sum(map(len, new)) < BUFFER:
            new.append(reader.activations(rows[[i % len(rows) for i in range(at, at + 4)]]))
            at += 4
        buffer = torch.cat([buffer, *new])
        buffer = buffer[torch.randperm(len(buffer), generator=generator)]
        while len(buffer) > BUFFER // 2:
            yield buffer[:BATCH]
            buffer = buffer[BATCH:]


def train(a):
    from sae_lens import TopKTrainingSAE, TopKTrainingSAEConfig
    from sae_lens.config import LoggingConfig, SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    torch.manual_seed(a.seed)
    generator = torch.Generator().manual_seed(a.seed)
    reader = Reader(a.model, a.layer)
    rows = reader.rows(a.text)
    rows = rows[torch.randperm(len(rows), generator=generator)]
    sae = TopKTrainingSAE(TopKTrainingSAEConfig(d_in=reader.width, d_sae=a.d_sae, k=a.k))
    steps = a.tokens // BATCH
    config = SAETrainerConfig(
        total_training_samples=a.tokens,
        train_batch_size_samples=BATCH,
        lr=7e-4 * (16384 / a.d_sae) ** 0.5,
        lr_end=0.0,
        lr_warm_up_steps=max(1, steps // 100),
        lr_decay_steps=steps // 5,
        logger=LoggingConfig(log_to_wandb=False),
    )
    start, cpu = time.time(), time.process_time()
    done = SAETrainer(config, sae, batches(reader, rows, generator)).fit()
    wall = time.time() - start
    print(json.dumps({"tokens_per_second": round(a.tokens / wall), "cores": round((time.process_time() - cpu) / wall, 2)}))
    done.save_inference_model(a.out)


@torch.no_grad()
def judge(a):
    from sae_lens import SAE

    reader = Reader(a.model, a.layer)
    rows = reader.rows(a.text)[:40]
    x = torch.cat([reader.activations(rows[i : i + 4]) for i in range(0, len(rows), 4)])
    # Tokens whose activation is ten times as long as most are a few in a thousand, and nearly all of the variance.
    lengths = x.norm(dim=-1)
    ordinary = x[lengths < 10 * lengths.median()]
    for path in a.saes:
        sae = SAE.load_from_disk(path)
        figures = {"sae": path, "tokens": len(x), "of_huge_norm": len(x) - len(ordinary)}
        for name, x_ in (("all", x), ("ordinary", ordinary)):
            f = sae.encode(x_)
            error, total = ((x_ - sae.decode(f)) ** 2).sum(), ((x_ - x_.mean(0)) ** 2).sum()
            figures[f"explained_variance_{name}"] = round(1 - (error / total).item(), 4)
        figures["never_firing"] = round(((f > 0).sum(0) == 0).float().mean().item(), 4)
        figures["l0"] = round((f > 0).sum(1).float().mean().item(), 1)
        print(json.dumps(figures))


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
commands = parser.add_subparsers(dest="what", required=True)
for name, run in (("train", train), ("judge", judge)):
    command = commands.add_parser(name)
    command.add_argument("--model", required=True)
    command.add_argument("--text", nargs="+", required=True)
    command.add_argument("--layer", type=int, default=9)
    command.set_defaults(run=run)
    if name == "train":
        for flag, kind, value in (
            ("--tokens", int, 51200),
            ("--d-sae", int, 4096),
            ("--k", int, 32),
            ("--seed", int, 0),
        ):
            command.add_argument(flag, type=kind, default=value)
        command.add_argument("--out", required=True)
    else:
        command.add_argument("saes", nargs="+")
arguments = parser.parse_args()
arguments.run(arguments)
