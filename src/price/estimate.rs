use super::Input;
use crate::{Payload, Tokens, Units, Work, payload::Head, target::ModelFacts};

/// The output to reckon with where neither the client nor the model has a smaller cap.
///
/// Claude has to be told a cap, and is told this one, so that it never writes more than is held. A larger one
/// would have every such request hold more of budgets and limits; a smaller one cuts long answers off, and thoughts.
pub const ASSUMED_OUTPUT: u64 = 16_384;

/// All that one attempt at a request may use: what its dialect has read from it, or else
///
/// - as many tokens of [`input`](Input) as its bytes can come to. No token is shorter than a byte, and
///   in words none is shorter than two, so that this holds for every script, and for digits and what is
///   written in Base64; an image counts as 5,000 tokens, and 1,000 are added for what providers write
///   around a request. What the provider
///   itself reads on behalf of the model (the web, files, earlier answers that it has kept) has no bound
///   but the most that the model takes;
/// - as many tokens of output as the client's cap says, or `assume_output` if there is none, for each of
///   the answers it wants, and no more than the model writes;
/// - as many searches of the web and of maps, and containers to run code in, as it allows.
///
/// Which rates are the dearest for it says [`Price::worst_case`](super::Price::worst_case).
///
/// ```
/// use bartizan::{payload::Head, price::{ASSUMED_OUTPUT, Input, worst_case}, target::ModelFacts};
///
/// let head = Head { max_output: Some(100), choices: 2, ..Head::default() };
/// let work = worst_case(&head, &Input::of(b"123 abc"), &ModelFacts::default(), ASSUMED_OUTPUT);
///
/// assert_eq!((work.tokens.input, work.tokens.output), (1_005, 200));
/// ```
pub fn worst_case(head: &Head, input: &Input, facts: &ModelFacts, assume_output: u64) -> Work {
    if let Some(work) = head.work {
        return work;
    }
    let output = head.max_output.unwrap_or(assume_output).min(facts.max_output.unwrap_or(u64::MAX));
    let tokens = Tokens {
        input: input.most(facts, head.reads_more),
        output: output.saturating_mul(u64::from(head.choices.max(1))),
        ..Tokens::default()
    };
    let units = Units {
        media_input: if head.reads_media { tokens.input } else { input.media() },
        web_searches: head.searches,
        map_searches: head.map_searches,
        code_sessions: head.code_sessions,
        ..Units::default()
    };
    Work { tokens, units }
}

/// What one attempt at a request probably uses of limits on tokens: its input by its size, and all of the
/// output that it may have.
pub(crate) fn likely_tokens(payload: &Payload, assume_output: u64, facts: &ModelFacts) -> Tokens {
    let head = payload.head();
    if let Some(work) = head.work {
        return work.tokens;
    }
    let most = head.max_output.unwrap_or(assume_output).min(facts.max_output.unwrap_or(u64::MAX));
    Tokens {
        input: payload.input().likely(),
        output: most.saturating_mul(u64::from(head.choices.max(1))),
        ..Tokens::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(max_input: u64, max_output: u64) -> ModelFacts {
        let mut facts = ModelFacts::default();
        (facts.max_input, facts.max_output) = (Some(max_input), Some(max_output));
        facts
    }

    fn tokens(head: &Head, facts: &ModelFacts) -> Tokens {
        worst_case(head, &Input::of(&[b'9'; 4_000]), facts, 4_096).tokens
    }

    #[test]
    fn without_a_cap_the_smaller_of_assumption_and_model_counts() {
        let head = Head::default();

        assert_eq!(tokens(&head, &ModelFacts::default()).output, 4_096);
        assert_eq!(tokens(&head, &facts(10, 1_000)).output, 1_000);
        assert_eq!(tokens(&head, &facts(10, 9_000)).output, 4_096);
    }

    #[test]
    fn nothing_is_more_than_the_model_takes() {
        let head = Head { max_output: Some(u64::MAX), ..Head::default() };

        let tokens = tokens(&head, &facts(10, 1_000));

        assert_eq!((tokens.input, tokens.output), (10, 1_000));
    }

    #[test]
    fn an_absurd_request_does_not_overflow() {
        let head = Head { max_output: Some(u64::MAX), choices: u32::MAX, ..Head::default() };

        assert_eq!(tokens(&head, &ModelFacts::default()).output, u64::MAX);
    }

    #[test]
    fn what_the_provider_reads_by_itself_is_reckoned_with() {
        let head = Head { reads_more: true, searches: 3, code_sessions: 1, ..Head::default() };

        let work = worst_case(&head, &Input::of(b"{}"), &facts(128_000, 1_000), 4_096);

        assert_eq!((work.tokens.input, work.units.web_searches, work.units.code_sessions), (128_000, 3, 1));
    }
}
