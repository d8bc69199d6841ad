//! Rows of a delimited file, with the line each began at.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{BufRead, Read};
use std::rc::Rc;

use csv::{ByteRecord, ReaderBuilder};

use super::mapping::{Mapping, RowError};
use crate::cli::error::Error;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The line of the file it began at, from 1.
    pub line: u64,
    /// Its values.
    pub values: Vec<String>,
    /// Bytes of the file up to its end, for progress.
    pub end_byte: u64,
}

/// Reads rows one by one; memory does not grow with the file.
pub struct Rows<R> {
    source: Source<R>,
    columns: Vec<String>,
}

enum Source<R> {
    Csv {
        reader: Box<csv::Reader<LineIndex<R>>>,
        /// Byte and line at which each line that is not blank begins; what is read ahead, so never much.
        starts: LineStarts,
    },
    /// Any run of white space separates; no quoting.
    Whitespace { reader: R, line: u64, bytes: u64 },
}

impl<R: BufRead> Rows<R> {
    /// Opens a file as the mapping says; reads its header unless columns are named.
    ///
    /// # Errors
    /// A wrong delimiter, a header that cannot be read.
    pub fn open(reader: R, mapping: &Mapping) -> Result<Self, Error> {
        let source = match mapping.delimiter.as_deref().unwrap_or(",") {
            "whitespace" => Source::Whitespace { reader, line: 0, bytes: 0 },
            "tab" => csv_source(reader, b'\t'),
            one if one.len() == 1 => csv_source(reader, one.as_bytes()[0]),
            other => return Err(Error::Usage(format!("--delimiter \"{other}\" is not one character, tab or whitespace"))),
        };
        let mut rows = Rows { source, columns: mapping.columns.clone() };
        if rows.columns.is_empty() {
            let header = rows.next().ok_or_else(|| Error::Failed("the file is empty: there is no header line; name the columns with --columns".into()))?;
            let header = header.map_err(|bad| Error::Failed(format!("the header cannot be read: {bad}")))?;
            rows.columns = header.values.iter().map(|name| name.trim().trim_start_matches('\u{feff}').to_owned()).collect();
        }
        let repeated = rows.columns.iter().enumerate().find(|(index, name)| rows.columns[..*index].contains(name));
        match repeated {
            Some((_, name)) => Err(Error::Failed(format!("two columns are called {name}; name them apart with --columns"))),
            None => Ok(rows),
        }
    }

    /// Names of the columns.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }
}

fn csv_source<R: BufRead>(reader: R, delimiter: u8) -> Source<R> {
    let starts = LineStarts::default();
    let index = LineIndex { reader, starts: Rc::clone(&starts), byte: 0, line: 1, line_start: 0, noted: false, after_cr: false };
    let reader = ReaderBuilder::new().has_headers(false).flexible(true).delimiter(delimiter).from_reader(index);
    Source::Csv { reader: Box::new(reader), starts }
}

type LineStarts = Rc<RefCell<VecDeque<(u64, u64)>>>;

/// Notes where lines begin as they are read: the csv crate counts a line ended by CR LF only with the next record.
struct LineIndex<R> {
    reader: R,
    starts: LineStarts,
    byte: u64,
    line: u64,
    line_start: u64,
    noted: bool,
    after_cr: bool,
}

impl<R: Read> Read for LineIndex<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.reader.read(buffer)?;
        for byte in &buffer[..read] {
            self.byte += 1;
            match byte {
                // The line feed of CR LF belongs to the line that the CR ended; the csv crate ends a row at a CR alone, too.
                b'\n' if self.after_cr => self.line_start = self.byte,
                b'\n' | b'\r' => (self.line, self.line_start, self.noted) = (self.line + 1, self.byte, false),
                _ if self.noted => {}
                _ => {
                    self.noted = true;
                    self.starts.borrow_mut().push_back((self.line_start, self.line));
                }
            }
            self.after_cr = *byte == b'\r';
        }
        Ok(read)
    }
}

impl<R: BufRead> Iterator for Rows<R> {
    type Item = Result<Row, RowError>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.source {
            Source::Csv { reader, starts } => next_csv(reader, starts),
            Source::Whitespace { reader, line, bytes } => loop {
                let mut buffer = Vec::new();
                *line += 1;
                match reader.read_until(b'\n', &mut buffer) {
                    Ok(0) => return None,
                    Ok(read) => *bytes += read as u64,
                    Err(error) => return Some(Err(whole_row(*line, format!("cannot be read: {error}")))),
                }
                let row = texts(*line, buffer.split(u8::is_ascii_whitespace).filter(|value| !value.is_empty()), *bytes);
                // A blank line is no row, as in CSV.
                if row.as_ref().is_ok_and(|row| row.values.is_empty()) {
                    continue;
                }
                return Some(row);
            },
        }
    }
}

fn next_csv<R: Read>(reader: &mut csv::Reader<LineIndex<R>>, starts: &LineStarts) -> Option<Result<Row, RowError>> {
    let mut record = ByteRecord::new();
    match reader.read_byte_record(&mut record) {
        Ok(false) => None,
        Ok(true) => {
            let (byte, counted) = record.position().map_or((0, 0), |position| (position.byte(), position.line()));
            let mut starts = starts.borrow_mut();
            // Blank lines are skipped, so a record begins at the first line from there on that is not blank.
            while starts.front().is_some_and(|(start, _)| *start < byte) {
                starts.pop_front();
            }
            let line = starts.front().map_or(counted, |(_, line)| *line);
            Some(texts(line, record.iter(), reader.position().byte()))
        }
        Err(error) => Some(Err(whole_row(reader.position().line(), format!("cannot be read: {error}")))),
    }
}

fn texts<'v>(line: u64, values: impl Iterator<Item = &'v [u8]>, end_byte: u64) -> Result<Row, RowError> {
    let values: Result<Vec<String>, _> = values.map(|value| String::from_utf8(value.to_vec())).collect();
    let values = values.map_err(|_| whole_row(line, "is not UTF-8; convert the file, for example with iconv".into()))?;
    Ok(Row { line, values, end_byte })
}

fn whole_row(line: u64, problem: String) -> RowError {
    RowError { line, columns: String::new(), problem }
}
