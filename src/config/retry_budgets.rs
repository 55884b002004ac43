use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use super::RetryBudget;
use crate::{dispatch, lock};

/// What is left of the retries of all models, which outlives a reload.
#[derive(Clone, Debug, Default)]
pub(super) struct RetryBudgets(Arc<Mutex<HashMap<Box<str>, Known>>>);

/// What is allowed, and what is left of it.
type Known = (RetryBudget, dispatch::RetryBudget);

impl RetryBudgets {
    /// Clients name models too, so only so many are remembered.
    const MOST: usize = 4096;

    /// That of `model`; another one once it allows more or less.
    pub(super) fn of(&self, model: &str, allowed: RetryBudget) -> dispatch::RetryBudget {
        let mut budgets = lock(&self.0);
        if let Some((_, known)) = budgets.get(model).filter(|(known, _)| *known == allowed) {
            return known.clone();
        }
        if budgets.len() >= Self::MOST {
            budgets.clear();
        }
        let budget = dispatch::RetryBudget::from(allowed);
        budgets.insert(model.into(), (allowed, budget.clone()));
        budget
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_left_of_retries_is_remembered_until_something_else_is_allowed() {
        let (budgets, none) = (RetryBudgets::default(), RetryBudget { percent: 0, per_second: 1 });
        let left = |model: &str, allowed| {
            let budget = budgets.of(model, allowed);
            (0..20).filter(|_| budget.withdraw()).count()
        };

        assert_eq!((left("a", none), left("a", none), left("b", none)), (10, 0, 10));
        assert_eq!(left("a", RetryBudget { percent: 0, per_second: 2 }), 20);
    }

    #[tokio::test]
    async fn names_that_clients_choose_are_not_remembered_for_ever() {
        let budgets = RetryBudgets::default();

        for n in 0..2 * RetryBudgets::MOST {
            budgets.of(&format!("a/{n}"), RetryBudget::default());
        }

        assert!(lock(&budgets.0).len() <= RetryBudgets::MOST);
    }
}
