"""A small tokenizer of every family that causal language models use, made on the spot."""

from collections.abc import Callable, Iterable

from tokenizers import AddedToken, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE, Unigram, WordLevel, WordPiece
from transformers import PreTrainedTokenizerFast

BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))
SPECIAL = ("<unk>", "<s>", "</s>", "<|im_start|>")
WORDS = (
    *(
        "▁",
        "▁▁",
        "▁Hello",
        "Hello",
        "▁world",
        "▁a",
        "a",
        "b",
        "é",
        "世",
        "▁世",
        "!",
        ".",
        "▁.",
        "'s",
        "\n",
        "\t",
    ),
    *("�", "▁�", "##ing", "##", "n't", "x</w>", "y</w>", "not", "do", "STOP", "ST", "OP"),
)


def _finished(
    tokenizer: Tokenizer, *, special: Iterable[str] = SPECIAL, added: Iterable[str] = ()
) -> PreTrainedTokenizerFast:
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in added])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def _numbered(tokens: Iterable[str]) -> dict[str, int]:
    return {token: i for i, token in enumerate(dict.fromkeys(tokens))}


def _bytes_to_letters(text: str) -> str:
    """As GPT-2 writes bytes."""
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return "".join(part for part, _ in byte_level.pre_tokenize_str(text))


def byte_level(*, added: Iterable[str] = (), special: Iterable[str] = SPECIAL) -> PreTrainedTokenizerFast:
    """GPT-2, Llama 3, Qwen: a byte, some words, and tokens that end inside a character."""
    emoji, words = (
        _bytes_to_letters("😀"),
        map(_bytes_to_letters, (" Hello", " a", "é", "世", "\ufffd", "ab")),
    )
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    parts = (emoji[:2], emoji[:3], emoji, emoji[1:], "a" + emoji[:1], emoji[3:] + "b", emoji[2:] + emoji[:2])
    tokenizer = Tokenizer(BPE(vocab=_numbered([*alphabet, *words, *parts]), merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return _finished(tokenizer, special=special, added=added)


def _sentencepiece_bpe(decoder: decoders.Decoder) -> PreTrainedTokenizerFast:
    vocabulary = _numbered([*SPECIAL, *BYTES, *WORDS, *"HelowrdSTOP"])
    tokenizer = Tokenizer(
        BPE(vocab=vocabulary, merges=[], byte_fallback=True, unk_token="<unk>", fuse_unk=True)
    )
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", vocabulary["<s>"])]
    )
    tokenizer.decoder = decoder
    return _finished(tokenizer, added=("<tool>", "  "))


def llama() -> PreTrainedTokenizerFast:
    """Llama 2 and Mistral: byte fallback, and the text's first space taken off."""
    return _sentencepiece_bpe(
        decoders.Sequence(
            [
                decoders.Replace("▁", " "),
                decoders.ByteFallback(),
                decoders.Fuse(),
                decoders.Strip(" ", left=1, right=0),
            ]
        )
    )


def gemma() -> PreTrainedTokenizerFast:
    """Byte fallback, and every space kept."""
    return _sentencepiece_bpe(
        decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    )


def metaspace_bpe() -> PreTrainedTokenizerFast:
    """Byte fallback before Metaspace, which takes the spaces off the first token."""
    return _sentencepiece_bpe(decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()]))


def unigram() -> PreTrainedTokenizerFast:
    """SentencePiece's other model, with Metaspace alone (T5, XGLM)."""
    return _unigram(decoders.Metaspace(), byte_fallback=False)


def unigram_with_bytes() -> PreTrainedTokenizerFast:
    return _unigram(decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()]), byte_fallback=True)


def _unigram(decoder: decoders.Decoder, *, byte_fallback: bool) -> PreTrainedTokenizerFast:
    tokens = dict.fromkeys([*SPECIAL, *(BYTES if byte_fallback else ()), *WORDS])
    tokenizer = Tokenizer(Unigram([(token, -1.0) for token in tokens], unk_id=0, byte_fallback=byte_fallback))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoder
    return _finished(tokenizer, added=("<tool>",))


def word_piece() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(WordPiece(vocab=_numbered([*SPECIAL, *WORDS]), unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    return _finished(tokenizer, added=("<tool>",))


def word_level() -> PreTrainedTokenizerFast:
    """No decoder: tokens are joined with spaces."""
    tokenizer = Tokenizer(WordLevel(vocab=_numbered([*SPECIAL, *WORDS]), unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return _finished(tokenizer)


def end_of_word_bpe() -> PreTrainedTokenizerFast:
    """The first GPT: a mark at the end of a word is a space, but at the end of the text."""
    tokenizer = Tokenizer(
        BPE(vocab=_numbered([*SPECIAL, *WORDS]), merges=[], unk_token="<unk>", end_of_word_suffix="</w>")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.BPEDecoder(suffix="</w>")
    return _finished(tokenizer)


FAMILIES: dict[str, Callable[[], PreTrainedTokenizerFast]] = {
    "byte-level": byte_level,
    "byte-level with added tokens": lambda: byte_level(added=("<tool>", " ", "é", "日本")),
    "byte-level without special tokens": lambda: byte_level(special=()),
    "llama": llama,
    "gemma": gemma,
    "metaspace": metaspace_bpe,
    "unigram": unigram,
    "unigram with bytes": unigram_with_bytes,
    "word piece": word_piece,
    "word level": word_level,
    "end of word": end_of_word_bpe,
}
