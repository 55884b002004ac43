//! What is shown, as files.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};

use super::{
    respond::{empty, whole},
    wanted::wanted,
};
use crate::{
    BoxBody, BoxError, Error,
    logs::{Filter, Line, Logs, Page, Place},
    query::Query,
};

/// How many records are asked for at once.
const AT_ONCE: usize = 1_000;

/// How something is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// By a page.
    Page,
    /// As a table, for a spreadsheet.
    Csv,
    /// As a file of JSON.
    Json,
}

impl Form {
    /// What is asked for, and how: `requests.csv` is `requests` as a table.
    pub(super) fn of(asked: &str) -> (&str, Self) {
        match asked.rsplit_once('.') {
            Some((asked, "csv")) => (asked, Self::Csv),
            Some((asked, "json")) => (asked, Self::Json),
            _ => (asked, Self::Page),
        }
    }
}

/// One row of a table; the first one has the names.
#[derive(Debug, Default)]
pub(super) struct Row(String);

impl Row {
    /// A cell of whatever somebody has written. Spreadsheets take what begins like a formula for one, unless a quote
    /// stands before it.
    pub(super) fn text(mut self, text: &str) -> Self {
        let harmless = if text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']) { "'" } else { "" };
        self.separate();
        if harmless.is_empty() && !text.contains([',', '"', '\n', '\r', ';']) {
            self.0.push_str(text);
        } else {
            self.0.push('"');
            self.0.push_str(harmless);
            self.0.push_str(&text.replace('"', "\"\""));
            self.0.push('"');
        }
        self
    }

    /// A cell of a number; an empty one for none.
    pub(super) fn number(mut self, number: Option<impl std::fmt::Display>) -> Self {
        self.separate();
        if let Some(number) = number {
            self.0.push_str(&number.to_string());
        }
        self
    }

    pub(super) fn end(mut self) -> String {
        self.0.push_str("\r\n");
        self.0
    }

    /// An empty first cell leaves no trace, so all rows begin with one that isn't.
    fn separate(&mut self) {
        if !self.0.is_empty() {
            self.0.push(',');
        }
    }
}

/// A table that is there already.
pub(super) fn table(name: &str, rows: String) -> Result<Response<BoxBody>, Error> {
    Ok(attached(whole(StatusCode::OK, "text/csv; charset=utf-8", rows), name, "csv"))
}

/// Makes an answer a file of this name.
pub(super) fn attached(mut answer: Response<BoxBody>, name: &str, ending: &str) -> Response<BoxBody> {
    let named = format!("attachment; filename=\"bartizan-{name}.{ending}\"");
    if let Ok(named) = HeaderValue::try_from(named) {
        answer.headers_mut().insert(header::CONTENT_DISPOSITION, named);
    }
    answer
}

/// All records that are wanted, page by page, so that they needn't be there at once.
pub(super) fn requests(logs: Arc<dyn Logs>, query: &Query, form: Form) -> Result<Response<BoxBody>, Error> {
    let filter = wanted(query, &[])?;
    let begin = if form == Form::Csv { NAMES.to_owned() } else { "[".to_owned() };
    let export = Export {
        logs,
        filter,
        form,
        before: None,
        texts: VecDeque::from([begin]),
        is_first: true,
        at_end: false,
    };
    let frames = stream::try_unfold(export, async |mut export| {
        let text = export.next().await?;
        Ok::<_, BoxError>(text.map(|text| (Frame::data(Bytes::from(text)), export)))
    });
    let mut answer = empty(StatusCode::OK).map(|_| StreamBody::new(frames).boxed_unsync());
    let (kind, ending) = match form {
        Form::Csv => ("text/csv; charset=utf-8", "csv"),
        _ => ("application/json", "json"),
    };
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    Ok(attached(answer, "requests", ending))
}

/// An export under way.
struct Export {
    logs: Arc<dyn Logs>,
    filter: Filter,
    form: Form,
    before: Option<Place>,
    texts: VecDeque<String>,
    is_first: bool,
    at_end: bool,
}

impl Export {
    async fn next(&mut self) -> Result<Option<String>, BoxError> {
        if let Some(text) = self.texts.pop_front() {
            return Ok(Some(text));
        }
        if self.at_end {
            return Ok(None);
        }
        let Page { lines, next, .. } = self.logs.find(&self.filter, self.before, AT_ONCE).await?;
        (self.at_end, self.before) = (next.is_none(), next);
        let mut text = String::new();
        for line in &lines {
            match self.form {
                Form::Csv => text.push_str(&row(line)),
                _ => {
                    text.push_str(if std::mem::take(&mut self.is_first) { "\n" } else { ",\n" });
                    text.push_str(&serde_json::to_string(line)?);
                }
            }
        }
        if self.at_end && self.form != Form::Csv {
            text.push_str("\n]\n");
        }
        Ok(Some(text))
    }
}

const NAMES: &str = "arrived,id,status,end,error,key,team,customer,user,session,model,target,attempts,stream,\
                     input_tokens,output_tokens,cost_usd,estimated,duration_ms,first_event_ms,overhead_us\r\n";

fn row(line: &Line) -> String {
    let text = |text: &Option<Box<str>>| text.as_deref().unwrap_or_default().to_owned();
    Row::default()
        .text(&time(line.arrived_ms))
        .text(&line.id)
        .number(line.status)
        .text(&line.end)
        .text(&text(&line.error))
        .text(&text(&line.key))
        .text(&text(&line.team))
        .text(&text(&line.customer))
        .text(&text(&line.user))
        .text(&text(&line.session))
        .text(&text(&line.model))
        .text(&text(&line.target))
        .number(Some(line.attempts))
        .number(Some(line.stream))
        .number(Some(line.input))
        .number(Some(line.output))
        .number(Some(dollars(line.cost)))
        .number(Some(line.estimated))
        .number(Some(line.duration_ms))
        .number(line.first_event_ms)
        .number(line.overhead_us)
        .end()
}

/// Milliseconds of Unix time, as people write it.
pub(super) fn time(milliseconds: u64) -> String {
    let at = i64::try_from(milliseconds).ok().and_then(|at| jiff::Timestamp::from_millisecond(at).ok());
    at.map(|at| format!("{at:.3}")).unwrap_or_else(|| milliseconds.to_string())
}

/// Billionths of a dollar, as dollars.
pub(super) fn dollars(nano: u64) -> String {
    crate::price::NanoUsd(nano).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_never_taken_for_a_formula() {
        for text in ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1"] {
            let row = Row::default().text(text).end();
            assert_eq!(row, format!("\"'{text}\"\r\n"));
        }
        assert_eq!(Row::default().text("a=1").text("").text("b").end(), "a=1,,b\r\n");
    }

    #[test]
    fn what_separates_cells_is_quoted_inside_of_one() {
        let row = Row::default().text("a,\"b\"\nc").number(Some(1)).number(None::<u8>).end();

        assert_eq!(row, "\"a,\"\"b\"\"\nc\",1,\r\n");
    }
}
