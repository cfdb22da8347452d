using System.Globalization;
using Rollcall.Districts;
using Rollcall.Integrations;
using Rollcall.Mapping;
using Rollcall.Patrons;

namespace Rollcall.Server.Pages.Parts;

/// <summary>Whose a field of a linked patron is.</summary>
/// <param name="Mark">In a word or two.</param>
/// <param name="Hint">What an edit would mean, in a sentence.</param>
/// <param name="Keepable">The library can keep this field for one patron.</param>
internal sealed record FieldOwner(string Mark, string Hint, bool Keepable)
{
    /// <summary>The usual case, which forms explain once for all fields.</summary>
    public bool Usual => Mark == "Roster";

    /// <summary>What the roster does to a field of a linked patron; null when nothing.</summary>
    /// <param name="field">Its number.</param>
    /// <param name="settings">Of the service that is on.</param>
    /// <param name="group">The role group by which the patron is linked; none where no sync has met the person yet.</param>
    /// <param name="kept">The library keeps it for this patron.</param>
    public static FieldOwner? Of(int field, IntegrationSettings settings, RoleGroup group, bool kept)
    {
        if (!Mapper.Reaches(settings.Roles, group))
        {
            return null;
        }

        if (field == PatronFields.Status)
        {
            return new("Shared", "The roster marks leavers Transferred and brings them back. Every other status is the library's.", false);
        }

        var map = settings.Map;
        var mapped =
            (field == PatronFields.Site || FieldMap.SyncedFields.Contains(field))
            && Mapper.CanHave(map, group == RoleGroup.None ? RoleGroup.Student : group, field);
        return !mapped ? null
            : kept ? new("Library keeps", "The library keeps this value whatever the roster says.", true)
            : map.PolicyOf(field) switch
            {
                FieldPolicy.FillIfEmpty => new("Filled if empty", "The roster fills this field only while it is empty.", true),
                FieldPolicy.LibraryKeeps => null,
                _ => new("Roster", "The next sync overwrites a change made here, unless the library keeps this field.", true),
            };
    }
}

/// <summary>A patron's fields by theme, as records and forms show them.</summary>
internal static class FieldGroups
{
    public static readonly IReadOnlyList<(string Heading, int[] Fields)> All =
    [
        (
            "Person",
            [
                PatronFields.LastName,
                PatronFields.FirstName,
                PatronFields.MiddleName,
                PatronFields.Nickname,
                PatronFields.Birthdate,
                PatronFields.Sex,
            ]
        ),
        (
            "At school",
            [
                PatronFields.CommunityId,
                PatronFields.Level,
                PatronFields.Location,
                PatronFields.SecondLocation,
                PatronFields.Site,
                PatronFields.GraduationDate,
            ]
        ),
        ("Contact", [PatronFields.Email, PatronFields.Phone, PatronFields.AdditionalContact, PatronFields.OtherEmails]),
        (
            "In the library",
            [
                PatronFields.Barcode,
                PatronFields.Status,
                PatronFields.Policy,
                PatronFields.Group,
                PatronFields.SiteAccess,
                PatronFields.Expiration,
                PatronFields.GovernmentId,
                PatronFields.Stamps,
                PatronFields.DoNotTransfer,
                PatronFields.Notes,
            ]
        ),
    ];

    /// <summary>Numbers of the fields that the library keeps for this patron.</summary>
    public static HashSet<int> Kept(Patron patron) =>
        [
            .. (patron.KeptFields ?? "")
                .Split(',', StringSplitOptions.RemoveEmptyEntries)
                .Select(n => int.Parse(n, CultureInfo.InvariantCulture)),
        ];
}

/// <summary>How a field is typed.</summary>
internal enum FieldControl
{
    Text,
    Lines,
    Date,
    Choice,
    Tick,
    Sites,
}

/// <summary>One field of a form.</summary>
/// <param name="Field">Which.</param>
/// <param name="Control">How it is typed.</param>
/// <param name="Value">In words; null when empty.</param>
/// <param name="Choices">For a choice: value and label.</param>
/// <param name="Owner">Whose it is; null for the library's own.</param>
/// <param name="Kept">The library keeps it for this patron.</param>
internal sealed record FieldInput(
    PatronField Field,
    FieldControl Control,
    string? Value,
    IReadOnlyList<(string Value, string Label)> Choices,
    FieldOwner? Owner,
    bool Kept
)
{
    /// <summary>What the field held when the form was opened; null where nothing is compared with it.</summary>
    public string? Was { get; init; }

    /// <summary>The mark held when the form was opened.</summary>
    public bool WasKept { get; init; }

    /// <summary>What somebody else made of it meanwhile, in a sentence; null when nobody did.</summary>
    public string? Meanwhile { get; init; }

    /// <summary>Why what is typed cannot be taken, in a sentence; null when it can.</summary>
    public string? Problem { get; init; }

    /// <summary>It is shown and not asked for: whoever fills the form in may not set it.</summary>
    public bool Fixed { get; init; }

    /// <summary>What a field that is fixed shows.</summary>
    public string Shown =>
        Control == FieldControl.Choice
            ? Choices.FirstOrDefault(c => string.Equals(c.Value, Value ?? "", StringComparison.OrdinalIgnoreCase)).Label ?? "None"
        : string.IsNullOrEmpty(Value) ? "None"
        : Value;
}

/// <summary>The form in which a patron is entered or changed.</summary>
internal sealed class PatronForm
{
    /// <summary>The form's field that lists the numbers of fields the library keeps.</summary>
    public const string KeptName = "kept";

    /// <summary>Before the name of a field: what it held when the form was opened.</summary>
    public const string WasPrefix = "was.";

    public IReadOnlyList<(string Heading, IReadOnlyList<FieldInput> Inputs)> Groups { get; private init; } = [];

    /// <summary>Builds the form.</summary>
    /// <param name="values">Field number → value in words.</param>
    /// <param name="kept">Fields the library keeps.</param>
    /// <param name="owner">What the roster does to a field, by its number and whether the library keeps it; null when nothing.</param>
    /// <param name="sites">The district's.</param>
    /// <param name="policies">The district's policies.</param>
    /// <param name="isNew">The patron is entered now: what is left open takes the site's default.</param>
    /// <param name="givesRights">Whoever fills it in may say what the patron may do here.</param>
    public static PatronForm Of(
        IReadOnlyDictionary<int, string?> values,
        IReadOnlySet<int> kept,
        Func<int, bool, FieldOwner?> owner,
        IReadOnlyList<Site> sites,
        IReadOnlyList<Policy> policies,
        bool isNew,
        bool givesRights
    ) =>
        new()
        {
            Groups =
            [
                .. FieldGroups.All.Select(g =>
                    (
                        g.Heading,
                        (IReadOnlyList<FieldInput>)
                            [
                                .. g.Fields.Select(n =>
                                {
                                    var value = values.GetValueOrDefault(n);
                                    return new FieldInput(
                                        PatronFields.ByNumber(n),
                                        ControlOf(n),
                                        value,
                                        ChoicesOf(n, value, sites, policies, isNew),
                                        owner(n, kept.Contains(n)),
                                        kept.Contains(n)
                                    )
                                    {
                                        Fixed = !givesRights && n is PatronFields.Group or PatronFields.SiteAccess,
                                    };
                                }),
                            ]
                    )
                ),
            ],
        };

    /// <summary>The form with what its fields held when it was opened, and what became of them meanwhile.</summary>
    /// <param name="was">Field number → value in words.</param>
    /// <param name="wasKept">Fields that the library kept then.</param>
    /// <param name="meanwhile">Field number → sentence.</param>
    public PatronForm Opened(
        IReadOnlyDictionary<int, string?> was,
        IReadOnlySet<int> wasKept,
        IReadOnlyDictionary<int, string> meanwhile
    ) =>
        new()
        {
            Groups =
            [
                .. Groups.Select(g =>
                    (
                        g.Heading,
                        (IReadOnlyList<FieldInput>)
                            [
                                .. g.Inputs.Select(i =>
                                    i with
                                    {
                                        Was = was.GetValueOrDefault(i.Field.Number) ?? "",
                                        WasKept = wasKept.Contains(i.Field.Number),
                                        Meanwhile = meanwhile.GetValueOrDefault(i.Field.Number),
                                    }
                                ),
                            ]
                    )
                ),
            ],
        };

    /// <summary>The form with what is wrong with its fields.</summary>
    /// <param name="problems">Field number → sentence.</param>
    public PatronForm Refused(IReadOnlyDictionary<int, string> problems) =>
        new()
        {
            Groups =
            [
                .. Groups.Select(g =>
                    (
                        g.Heading,
                        (IReadOnlyList<FieldInput>)
                            [.. g.Inputs.Select(i => i with { Problem = problems.GetValueOrDefault(i.Field.Number) })]
                    )
                ),
            ],
        };

    /// <summary>The same value of a field, however the browser sends its ends of lines and whatever the order of what is ticked.</summary>
    public static bool IsSame(int number, string? one, string? other)
    {
        return ControlOf(number) switch
        {
            FieldControl.Choice => string.Equals(Plain(one), Plain(other), StringComparison.OrdinalIgnoreCase),
            FieldControl.Sites => Plain(one)
                .Split(',')
                .Order(StringComparer.Ordinal)
                .SequenceEqual(Plain(other).Split(',').Order(StringComparer.Ordinal)),
            _ => Plain(one) == Plain(other),
        };

        static string Plain(string? text) => (text ?? "").ReplaceLineEndings("\n").Trim();
    }

    /// <summary>A patron's values in words, by number.</summary>
    public static Dictionary<int, string?> ValuesOf(Patron patron, IReadOnlyDictionary<int, Site> sites) =>
        FieldGroups
            .All.SelectMany(g => g.Fields)
            .ToDictionary(
                n => n,
                n =>
                    n == PatronFields.DoNotTransfer
                        ? (patron.DoNotTransfer ? "true" : null)
                        : PatronWords.Value(patron, PatronFields.ByNumber(n), sites)
            );

    /// <summary>What a form that was sent holds: field number → text. Fields that were not on it are left out.</summary>
    /// <param name="form">The form.</param>
    /// <param name="prefix">Before the name of each field.</param>
    public static Dictionary<int, string?> Read(IFormCollection form, string prefix = "")
    {
        var values = new Dictionary<int, string?>();
        foreach (var number in FieldGroups.All.SelectMany(g => g.Fields))
        {
            if (form.TryGetValue(prefix + PatronFields.ByNumber(number).Name, out var sent))
            {
                values[number] = ControlOf(number) switch
                {
                    FieldControl.Tick => sent.Contains("true") ? "true" : "",
                    FieldControl.Sites => string.Join(',', sent.Where(s => !string.IsNullOrEmpty(s))),
                    _ => sent.ToString(),
                };
            }
        }

        return values;
    }

    /// <summary>The numbers that a form that was sent marks as kept by the library.</summary>
    public static HashSet<int> ReadKept(IFormCollection form, string prefix = "") =>
        [
            .. form[prefix + KeptName]
                .Select(n => int.TryParse(n, NumberStyles.None, CultureInfo.InvariantCulture, out var number) ? number : 0)
                .Where(n => n > 0),
        ];

    public static FieldControl ControlOf(int number) =>
        number switch
        {
            PatronFields.Birthdate or PatronFields.GraduationDate or PatronFields.Expiration => FieldControl.Date,
            PatronFields.Sex or PatronFields.Site or PatronFields.Status or PatronFields.Policy or PatronFields.Group =>
                FieldControl.Choice,
            PatronFields.Notes or PatronFields.AdditionalContact or PatronFields.OtherEmails => FieldControl.Lines,
            PatronFields.DoNotTransfer => FieldControl.Tick,
            PatronFields.SiteAccess => FieldControl.Sites,
            _ => FieldControl.Text,
        };

    public static IReadOnlyList<(string Value, string Label)> ChoicesOf(
        int number,
        string? now,
        IReadOnlyList<Site> sites,
        IReadOnlyList<Policy> policies,
        bool isNew
    )
    {
        const string byDefault = "The site's default";
        List<(string Value, string Label)> choices = number switch
        {
            PatronFields.Sex => [("", "Unknown"), ("male", "Male"), ("female", "Female"), ("other", "Other")],
            PatronFields.Site => [("", "No site"), .. sites.Select(s => (s.Code, s.Name))],
            PatronFields.SiteAccess => [.. sites.Select(s => (s.Code, s.Name))],
            PatronFields.Status =>
            [
                .. Enum.GetValues<PatronStatus>().Select(s => (PatronFields.StatusWord(s), PatronFields.StatusWord(s))),
            ],
            PatronFields.Group =>
            [
                .. isNew ? [("", byDefault)] : Array.Empty<(string, string)>(),
                .. Enum.GetValues<SecurityGroup>().Select(g => (PatronFields.GroupWord(g), PatronFields.GroupWord(g))),
            ],
            PatronFields.Policy => [("", isNew ? byDefault : "None"), .. policies.Select(p => (p.Code, $"{p.Name} ({p.Code})"))],
            _ => [],
        };
        if (
            ControlOf(number) == FieldControl.Choice
            && !string.IsNullOrEmpty(now)
            && !choices.Exists(c => string.Equals(c.Value, now, StringComparison.OrdinalIgnoreCase))
        )
        {
            choices.Add((now, now));
        }

        return choices;
    }
}
