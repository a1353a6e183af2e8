//! Enough of Rust's grammar to measure a file: what is code, where a function ends, what a path
//! begins with. Called by the checks. It does not expand macros and knows no types.

/// `text` with comments, strings and character literals blanked, every line where it was.
pub fn code_of(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = blank_end(&chars, at);
        if end == at {
            code.push(chars[at]);
            at += 1;
        }
        for &letter in &chars[at..end.max(at)] {
            code.push(if letter == '\n' { '\n' } else { ' ' });
        }
        at = at.max(end);
    }
    code
}

/// Where the comment or literal that begins at `at` ends; `at` if none begins there.
fn blank_end(chars: &[char], at: usize) -> usize {
    let rest = &chars[at..];
    let inside_word = at > 0 && is_word(chars[at - 1]);
    match rest {
        ['/', '/', ..] => at + position(rest, |tail| tail[0] == '\n'),
        ['/', '*', ..] => at + block_comment(rest),
        ['"', ..] => at + quoted(rest, '"'),
        ['r' | 'b' | 'c', ..] if !inside_word => at + raw_string(rest),
        ['\'', '\\', ..] | ['\'', _, '\'', ..] => at + quoted(rest, '\''),
        _ => at,
    }
}

/// The first index whose tail `wanted` accepts, or the length.
fn position(chars: &[char], wanted: impl Fn(&[char]) -> bool) -> usize {
    (0..chars.len()).find(|&index| wanted(&chars[index..])).unwrap_or(chars.len())
}

fn block_comment(chars: &[char]) -> usize {
    let (mut depth, mut at) = (0, 0);
    loop {
        match &chars[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] if depth == 1 => return at + 2,
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            [] => return at,
            _ => at += 1,
        }
    }
}

fn quoted(chars: &[char], quote: char) -> usize {
    let mut at = 1;
    while at < chars.len() && chars[at] != quote {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

/// The length of a raw string that begins here, or 0.
fn raw_string(chars: &[char]) -> usize {
    let letters = position(chars, |tail| !matches!(tail[0], 'r' | 'b' | 'c'));
    let hashes = position(&chars[letters..], |tail| tail[0] != '#');
    let start = letters + hashes;
    if !chars[..letters].contains(&'r') || letters > 2 || chars.get(start) != Some(&'"') {
        return 0;
    }
    let mut end = vec!['"'];
    end.resize(1 + hashes, '#');
    let length = position(&chars[start + 1..], |tail| tail.starts_with(&end));
    (start + 1 + length + end.len()).min(chars.len())
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// Where `word` stands in `code` as a word of its own.
pub fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.match_indices(word).map(|(at, _)| at).filter(move |&at| {
        !code[..at].ends_with(is_word) && !code[at + word.len()..].starts_with(is_word)
    })
}

/// The number of the line at byte `at`, from 1.
pub fn line_at(code: &str, at: usize) -> usize {
    1 + code[..at].matches('\n').count()
}

/// Where the block that `code` begins with ends, behind its brace.
fn block_length(code: &str) -> usize {
    let mut depth = 0;
    for (at, letter) in code.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 1 => return at + 1,
            '}' => depth -= 1,
            _ => {}
        }
    }
    code.len()
}

/// The part of `code` before the module of unit tests that ends the file.
pub fn without_tests(code: &str) -> &str {
    let Some(at) = code.rfind("#[cfg(test)]\nmod tests {") else { return code };
    let block = at + code[at..].find('{').unwrap_or(0);
    let is_last = code[block + block_length(&code[block..])..].trim().is_empty();
    if is_last { &code[..at] } else { code }
}

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    pub name: String,
    pub line: usize,
    pub lines: usize,
}

/// The functions in `code`, those inside others as well.
pub fn functions(code: &str) -> Vec<Function> {
    words(code, "fn").filter_map(|at| function(code, at)).collect()
}

fn function(code: &str, at: usize) -> Option<Function> {
    let name: String = code[at + 2..].trim_start().chars().take_while(|&c| is_word(c)).collect();
    let mut depth = 0;
    let body = code[at..].find(|letter| {
        match letter {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            _ => {}
        }
        depth == 0 && matches!(letter, '{' | ';')
    })?;
    // A type `fn(...)` has no name, a declaration no body.
    if name.is_empty() || !code[at + body..].starts_with('{') {
        return None;
    }
    let end = at + body + block_length(&code[at + body..]);
    let lines = code[at..end].lines().count();
    Some(Function { name, line: line_at(code, at), lines })
}

/// What follows `prefix` (such as `crate::`) in paths: one name each, or those of a `{group}`.
pub fn names_after<'a>(code: &'a str, prefix: &'a str) -> Vec<&'a str> {
    let mut names = Vec::new();
    for at in words(code, prefix.trim_end_matches(':')) {
        let Some(rest) = code[at..].strip_prefix(prefix) else { continue };
        if rest.starts_with('{') {
            let group = &rest[1..block_length(rest).max(2) - 1];
            let mut depth = 0;
            let parts = group.split(|letter| {
                depth += i32::from(letter == '{') - i32::from(letter == '}');
                letter == ',' && depth == 0
            });
            names.extend(parts.map(|part| first_word(part.trim())));
        } else {
            names.push(first_word(rest));
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

fn first_word(text: &str) -> &str {
    text.split(|letter| !is_word(letter)).next().unwrap_or("")
}
