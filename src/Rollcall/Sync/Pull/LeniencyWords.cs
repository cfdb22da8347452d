namespace Rollcall.Sync.Pull;

/// <summary>What the reader forgave a roster, in words for people.</summary>
internal static class LeniencyWords
{
    /// <summary>Null for a form that was understood without doubt: it is counted for the log's header, and nobody has to do anything.</summary>
    public static string? Problem(string rule) =>
        rule switch
        {
            "unreadable-boolean" => "values that should be true or false are neither, and were left out",
            "unreadable-text" => "texts came in a form that cannot be read, and were left out",
            "unreadable-entry" => "entries of lists cannot be read, and were left out",
            "unreadable-ref" => "references to other records cannot be read, and were left out",
            "unreadable-date" => "dates cannot be read, and were left out",
            "unreadable-sex" => "the sex is a word that is not known, and was left out",
            "unknown-status" => "the status is a word that is not known; it was taken as active",
            "blank-sourced-id" => "the sourcedId is blank",
            "replaced-character" or "invalid-utf8" => "texts hold broken characters, which were replaced",
            _ => null,
        };
}
