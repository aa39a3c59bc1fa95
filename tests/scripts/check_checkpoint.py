"""Run an ifog checkpoint in PyTorch.

    python check_checkpoint.py RUN_DIR_OR_FILE [--expect LOGITS.json] [--text FILE]

Loads model.safetensors into nn.LSTM, nn.GRU or nn.RNN with a linear decoder, by PyTorch's own tensor
names and with strict shapes. Without further arguments that is the whole check.

--expect  JSON {"tokens": [t0, t1, ...], "logits": [[V numbers], ...]}: one sequence from zero state, a row
          of logits a token. Prints the largest absolute difference.
--text    the mean loss of the text read as one sequence from zero state, in nats and bits a character.

Arithmetic is float64 on the stored float32 weights, so a difference is the rounding of ifog alone.

Exit status: 0 agreement; 1 a difference above the tolerance, or a file that is not a valid checkpoint;
2 wrong usage, or a cell without a PyTorch twin (the GRU that resets before the recurrent product).

Needs: pip install torch safetensors numpy
"""

import argparse
import json
import math
import sys
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

# Metadata `cell` to the PyTorch module. `gru` resets before the product: no twin.
TWINS = {"lstm": torch.nn.LSTM, "gru-after": torch.nn.GRU, "rnn": torch.nn.RNN}
# Metadata key of the vocabulary.
VOCABULARY_KEY = "vocab"
# Steps of --text that are run at once; the state is carried, so the result does not depend on it.
CHUNK = 4096


class BadInput(Exception):
    """A file is not what it should be. The message is one sentence."""


class CharModel(torch.nn.Module):
    """Tokens [T] to logits [T, V]: embedding or one-hot, recurrent stack, linear decoder."""

    def __init__(self, module, vocab, embedding_width, hidden, layers):
        super().__init__()
        self.vocab = vocab
        self.embedding = torch.nn.Embedding(vocab, embedding_width) if embedding_width else None
        self.rnn = module(embedding_width or vocab, hidden, num_layers=layers)
        self.decoder = torch.nn.Linear(hidden, vocab)

    def forward(self, tokens, state=None):
        if self.embedding is not None:
            x = self.embedding(tokens)
        else:
            x = torch.nn.functional.one_hot(tokens, self.vocab).to(self.decoder.weight.dtype)
        output, state = self.rnn(x, state)
        return self.decoder(output), state


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, metavar="RUN_DIR_OR_FILE")
    parser.add_argument("--expect", type=Path, metavar="LOGITS.json")
    parser.add_argument("--text", type=Path, metavar="FILE")
    parser.add_argument("--tolerance", type=float, default=1e-5, help="default 1e-5")
    args = parser.parse_args()
    try:
        tensors, metadata = read_checkpoint(args.model)
        cell = metadata.get("cell")
        if cell == "gru":
            print(
                "this GRU resets before the recurrent product; nn.GRU resets after it, so PyTorch"
                " cannot run this model",
                file=sys.stderr,
            )
            return 2
        model = build(cell, tensors, metadata)
        agree = True
        with torch.no_grad():
            if args.expect:
                agree = compare(model, args.expect, args.tolerance)
            if args.text:
                report_loss(model, metadata, args.text)
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0 if agree else 1


def read_checkpoint(path):
    """Tensors by name, and the metadata strings."""
    if path.is_dir():
        path = path / "model.safetensors"
    try:
        with safe_open(str(path), framework="pt") as file:
            return {k: file.get_tensor(k) for k in file.keys()}, file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise BadInput(f"cannot read {path} as safetensors: {error}") from error


def build(cell, tensors, metadata):
    """The PyTorch model, its sizes taken from the tensors and held against the metadata."""
    if cell not in TWINS:
        raise BadInput(f'metadata "cell" is {cell!r}, expected one of {", ".join(["gru", *TWINS])}')
    for name, tensor in tensors.items():
        if tensor.dtype != torch.float32:
            raise BadInput(f"{name} is {tensor.dtype}, expected float32")
        if not torch.isfinite(tensor).all():
            raise BadInput(f"{name} has values that are not finite")
    module = TWINS[cell]
    vocab, hidden = matrix_shape(tensors, "decoder.weight")
    embedding_width = 0
    if "embedding.weight" in tensors:
        _, embedding_width = matrix_shape(tensors, "embedding.weight")
    layers = sum(name.startswith("rnn.weight_ih_l") for name in tensors)
    if layers == 0:
        raise BadInput("no tensor rnn.weight_ih_l0")
    for key, value in (("layers", layers), ("hidden", hidden)):
        if key in metadata and metadata[key] != str(value):
            raise BadInput(f'metadata "{key}" is {metadata[key]!r}, the tensors say {value}')

    model = CharModel(module, vocab, embedding_width, hidden, layers)
    try:
        model.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        raise BadInput(f"tensors do not fit {module.__name__}: {error}") from error
    parameters = sum(t.numel() for t in tensors.values())
    print(f"loaded {cell}: {layers} layers, hidden {hidden}, vocabulary {vocab}, {parameters} parameters")
    return model.double().eval()


def compare(model, path, tolerance):
    """Whether the expected logits are those of PyTorch; prints the largest difference."""
    document = read_json(path)
    try:
        tokens = torch.tensor(document["tokens"], dtype=torch.int64)
        expected = torch.tensor(document["logits"], dtype=torch.float64)
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(f"{path} is not {{tokens: [T], logits: [T][V]}}: {error}") from error
    if tokens.dim() != 1 or len(tokens) == 0 or expected.shape != (len(tokens), model.vocab):
        raise BadInput(
            f"{path} holds tokens {list(tokens.shape)} and logits {list(expected.shape)},"
            f" expected [T] and [T, {model.vocab}] with T > 0"
        )
    if tokens.min() < 0 or tokens.max() >= model.vocab:
        raise BadInput(f"{path} holds a token outside 0..{model.vocab}")

    logits, _ = model(tokens)
    difference = (logits - expected).abs().max().item()
    # A NaN among the expected logits must not pass.
    agree = difference <= tolerance
    verdict = "agrees" if agree else "DIFFERS"
    print(f"{verdict}: max |difference| {difference:.3e} over {len(tokens)} steps, tolerance {tolerance:.1e}")
    return agree


def report_loss(model, metadata, path):
    """Prints the mean cross-entropy of each next symbol of the text."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error}") from error
    tokens = encode(text, metadata, model.vocab)
    if len(tokens) < 2:
        raise BadInput(f"{path} has fewer than two symbols: there is nothing to predict")
    total, state = 0.0, None
    inputs, targets = tokens[:-1], tokens[1:]
    for start in range(0, len(inputs), CHUNK):
        logits, state = model(inputs[start : start + CHUNK], state)
        chunk = targets[start : start + CHUNK]
        total += torch.nn.functional.cross_entropy(logits, chunk, reduction="sum").item()
    loss = total / len(targets)
    print(f"text: {len(targets)} predictions, loss {loss:.6f} nats, {loss / math.log(2):.6f} bits a character")


def encode(text, metadata, vocab):
    """Bytes to token ids [T] by the vocabulary in the metadata.

    {"kind": "bytes", "symbols": [byte values]} or {"kind": "characters", "symbols": "abc..."}; a
    symbol's position is its token.
    """
    try:
        stored = json.loads(metadata[VOCABULARY_KEY])
        kind, symbols = stored["kind"], stored["symbols"]
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(f'metadata "{VOCABULARY_KEY}" is no vocabulary, so --text cannot run') from error
    if kind not in ("bytes", "characters") or not isinstance(symbols, (list, str)):
        raise BadInput(f'metadata "{VOCABULARY_KEY}" has kind {kind!r}, expected "bytes" or "characters"')
    if len(symbols) != vocab:
        raise BadInput(f"the vocabulary lists {len(symbols)} symbols, the decoder has {vocab}")
    if kind == "characters":
        try:
            text = text.decode("utf-8")
        except UnicodeDecodeError as error:
            raise BadInput(f"the model reads characters and the text is not UTF-8: {error}") from error
    token_of = {symbol: token for token, symbol in enumerate(symbols)}
    unknown = [symbol for symbol in text if symbol not in token_of]
    if unknown:
        raise BadInput(f"the text has the symbol {unknown[0]!r}, which the model's vocabulary lacks")
    return torch.tensor([token_of[symbol] for symbol in text], dtype=torch.int64)


def matrix_shape(tensors, name):
    if name not in tensors:
        raise BadInput(f"no tensor {name}")
    if tensors[name].dim() != 2:
        raise BadInput(f"{name} has shape {list(tensors[name].shape)}, expected two extents")
    return tensors[name].shape


def read_json(path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"cannot read {path} as JSON: {error}") from error


if __name__ == "__main__":
    sys.exit(main())
