use crate::{Tokens, Work, payload::Head, target::ModelFacts};

/// The output to reckon with where neither the client nor the model has a smaller cap.
pub const ASSUMED_OUTPUT: u64 = 4_096;

/// The tokens that a request may come to, for a reservation.
///
/// Input is a quarter of its bytes; output is the client's cap, or `assume_output` if it has none,
/// for each of the answers it wants. Neither is more than the model takes.
///
/// ```
/// use bartizan::{payload::Head, price::{ASSUMED_OUTPUT, estimate}, target::ModelFacts};
///
/// let head = Head { max_output: Some(100), choices: 2, ..Head::default() };
/// let tokens = estimate(&head, 1_001, &ModelFacts::default(), ASSUMED_OUTPUT);
///
/// assert_eq!((tokens.input, tokens.output), (251, 200));
/// ```
pub fn estimate(head: &Head, input_bytes: usize, facts: &ModelFacts, assume_output: u64) -> Tokens {
    let input = input_bytes.div_ceil(4) as u64;
    let output = head.max_output.unwrap_or(assume_output).min(facts.max_output.unwrap_or(u64::MAX));
    Tokens {
        input: input.min(facts.max_input.unwrap_or(u64::MAX)),
        output: output.saturating_mul(u64::from(head.choices.max(1))),
        ..Tokens::default()
    }
}

/// All that a request may come to: what its dialect has read from it, or else its tokens.
pub fn worst_case(head: &Head, input_bytes: usize, facts: &ModelFacts, assume_output: u64) -> Work {
    head.work.unwrap_or_else(|| estimate(head, input_bytes, facts, assume_output).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(max_input: u64, max_output: u64) -> ModelFacts {
        let mut facts = ModelFacts::default();
        (facts.max_input, facts.max_output) = (Some(max_input), Some(max_output));
        facts
    }

    #[test]
    fn without_a_cap_the_smaller_of_assumption_and_model_counts() {
        let head = Head::default();

        assert_eq!(estimate(&head, 8, &ModelFacts::default(), 4_096).output, 4_096);
        assert_eq!(estimate(&head, 8, &facts(10, 1_000), 4_096).output, 1_000);
        assert_eq!(estimate(&head, 8, &facts(10, 9_000), 4_096).output, 4_096);
    }

    #[test]
    fn nothing_is_more_than_the_model_takes() {
        let head = Head { max_output: Some(u64::MAX), ..Head::default() };

        let tokens = estimate(&head, 4_000, &facts(10, 1_000), 4_096);

        assert_eq!((tokens.input, tokens.output), (10, 1_000));
    }

    #[test]
    fn an_absurd_request_does_not_overflow() {
        let head = Head { max_output: Some(u64::MAX), choices: u32::MAX, ..Head::default() };

        assert_eq!(estimate(&head, 8, &ModelFacts::default(), 4_096).output, u64::MAX);
    }
}
