"""`tf.contrib.crf`: linear-chain conditional random fields over sequences of tags (Lafferty et al., 2001)."""

from typing import Any

import numpy as np
import tensorflow as tf


def crf_log_likelihood(
    inputs: tf.Tensor, tag_indices: tf.Tensor, sequence_lengths: tf.Tensor, transition_params: Any = None
) -> tuple[tf.Tensor, Any]:
    """Returns the logarithm of each sequence's probability, float `[batch]`, and the scores of transitions.

    Args:
      inputs: float `[batch, length, tags]`, the score of each tag at each place.
      tag_indices: integers `[batch, length]`.
      sequence_lengths: integers `[batch]`; what comes later does not count.
      transition_params: float `[tags, tags]`, from row to column; None makes the variable `transitions`.
    """
    if transition_params is None:
        num_tags = int(inputs.shape.as_list()[2])
        transition_params = tf.compat.v1.get_variable("transitions", [num_tags, num_tags])
    score = crf_sequence_score(inputs, tag_indices, sequence_lengths, transition_params)
    return score - crf_log_norm(inputs, sequence_lengths, transition_params), transition_params


def crf_sequence_score(
    inputs: tf.Tensor, tag_indices: tf.Tensor, sequence_lengths: tf.Tensor, transition_params: Any
) -> tf.Tensor:
    """Returns the score of each sequence of tags, float `[batch]`; arguments as for `crf_log_likelihood`."""
    tags = tf.cast(tag_indices, tf.int32)
    mask = tf.sequence_mask(sequence_lengths, tf.shape(inputs)[1], dtype=inputs.dtype)
    of_places = tf.gather(inputs, tags, axis=2, batch_dims=2)
    of_transitions = tf.gather_nd(transition_params, tf.stack([tags[:, :-1], tags[:, 1:]], axis=-1))
    return tf.reduce_sum(of_places * mask, 1) + tf.reduce_sum(of_transitions * mask[:, 1:], 1)


def crf_log_norm(inputs: tf.Tensor, sequence_lengths: tf.Tensor, transition_params: Any) -> tf.Tensor:
    """Returns the logarithm of the sum over all sequences, float `[batch]`; arguments as for `crf_log_likelihood`."""
    lengths = tf.cast(sequence_lengths, tf.int32)

    def step(scores: tf.Tensor, place: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        here, time = place
        longer = here + tf.reduce_logsumexp(scores[:, :, tf.newaxis] + transition_params, axis=1)
        return tf.where(_is_continued(time, lengths), longer, scores)

    scores = tf.foldl(step, _places(inputs), initializer=inputs[:, 0])
    total = tf.reduce_logsumexp(scores, axis=1)
    return tf.where(lengths > 0, total, tf.zeros_like(total))


def crf_decode(
    potentials: tf.Tensor, transition_params: Any, sequence_length: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the best sequence of tags, int32 `[batch, length]`, 0 behind its end, and its score, float `[batch]`.

    Arguments are as for `crf_log_likelihood`.
    """
    lengths = tf.cast(sequence_length, tf.int32)
    num_tags = tf.shape(potentials)[2]
    stay = tf.range(num_tags) + tf.zeros_like(potentials[:, 0], tf.int32)

    def step(state: tuple[tf.Tensor, tf.Tensor], place: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        (scores, _), (here, time) = state, place
        through = scores[:, :, tf.newaxis] + transition_params
        is_continued = _is_continued(time, lengths)
        longer = here + tf.reduce_max(through, axis=1)
        origin = tf.argmax(through, axis=1, output_type=tf.int32)
        return tf.where(is_continued, longer, scores), tf.where(is_continued, origin, stay)

    all_scores, origins = tf.scan(step, _places(potentials), initializer=(potentials[:, 0], stay))
    scores = all_scores[-1]
    last = tf.argmax(scores, axis=1, output_type=tf.int32)
    earlier = tf.scan(lambda tag, origin: tf.gather(origin, tag, axis=1, batch_dims=1), origins, last, reverse=True)
    tags = tf.transpose(tf.concat([earlier[1:], last[tf.newaxis]], axis=0))
    mask = tf.sequence_mask(lengths, tf.shape(potentials)[1], dtype=tf.int32)
    return tags * mask, tf.reduce_max(scores, axis=1)


def viterbi_decode(score: np.ndarray, transition_params: np.ndarray) -> tuple[list[int], float]:
    """Returns the best sequence of tags and its score, outside graphs.

    Args:
      score: float `[length, tags]`, the score of each tag at each place.
      transition_params: float `[tags, tags]`, from row to column.
    """
    best, origins = score[0], []
    for here in score[1:]:
        through = best[:, np.newaxis] + transition_params
        origins.append(np.argmax(through, axis=0))
        best = here + np.max(through, axis=0)
    tags = [int(np.argmax(best))]
    for origin in reversed(origins):
        tags.insert(0, int(origin[tags[0]]))
    return tags, np.max(best)


def _places(inputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    # The first is among them, though it continues nothing: XLA takes no loop over nothing, nor does tf.scan always.
    return tf.transpose(inputs, [1, 0, 2]), tf.range(tf.shape(inputs)[1])


def _is_continued(time: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    return ((time > 0) & (time < lengths))[:, tf.newaxis]
