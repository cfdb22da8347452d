using System.Text.Json;
using System.Text.Json.Serialization;
using Rollcall.Patrons;

namespace Rollcall.Mapping;

/// <summary>Where the barcode or the Student # comes from.</summary>
public enum IdSource
{
    NotMapped = 0,
    UserIdType = 1,
    Identifier = 2,
    Username = 3,
}

/// <summary>Where the homeroom comes from.</summary>
public enum LocationSource
{
    NotMapped = 0,
    ClassCode = 1,
    ClassTitle = 2,
    ClassLocation = 3,
    TeacherName = 4,
}

/// <summary>Which org of a person decides the site.</summary>
public enum SiteFrom
{
    FirstOrg = 0,
    FirstMatched = 1,
    PrimaryOrg = 2,
}

/// <summary>Who wins when roster and library differ.</summary>
public enum FieldPolicy
{
    RosterWins = 0,
    FillIfEmpty = 1,
    LibraryKeeps = 2,
}

/// <summary>What a blank of the roster does.</summary>
public enum BlankRule
{
    Keep = 0,
    Clear = 1,
}

/// <summary>Source of an id field.</summary>
/// <param name="Source">Where it comes from.</param>
/// <param name="Type">The <c>userIds</c> type, for <see cref="IdSource.UserIdType"/> alone.</param>
public sealed record IdMapping(IdSource Source = IdSource.NotMapped, string? Type = null);

/// <summary>Policy and blank rule of one field; null takes the field's default.</summary>
public sealed record FieldRule(FieldPolicy? Policy = null, BlankRule? Blank = null);

/// <summary>A district's field mapping: data, no code.</summary>
public sealed record FieldMap
{
    /// <summary>What a newer version wrote, beside which this one works during an upgrade: it is written back as it was.</summary>
    [JsonExtensionData]
    public Dictionary<string, JsonElement>? Unknown { get; init; }

    public IdMapping Barcode { get; init; } = new();
    public IdMapping CommunityId { get; init; } = new();
    public LocationSource Location { get; init; }
    public bool NicknameFromPreferredName { get; init; }
    public SiteFrom SiteFrom { get; init; }

    /// <summary>Grade as the roster sends it → grade as the library writes it.</summary>
    public IReadOnlyDictionary<string, string> Grades { get; init; } = new Dictionary<string, string>(StringComparer.Ordinal);

    /// <summary>Rules that differ from the default, by field number.</summary>
    public IReadOnlyDictionary<int, FieldRule> Rules { get; init; } = new Dictionary<int, FieldRule>();

    /// <summary>The fields that a roster can write, in the order of the mapping table. Site and status follow rules of their own.</summary>
    public static readonly IReadOnlyList<int> SyncedFields =
    [
        PatronFields.Barcode,
        PatronFields.CommunityId,
        PatronFields.FirstName,
        PatronFields.MiddleName,
        PatronFields.LastName,
        PatronFields.Birthdate,
        PatronFields.Sex,
        PatronFields.Phone,
        PatronFields.Email,
        PatronFields.AdditionalContact,
        PatronFields.OtherEmails,
        PatronFields.Location,
        PatronFields.Level,
        PatronFields.Nickname,
    ];

    public FieldPolicy PolicyOf(int field) =>
        (Rules.GetValueOrDefault(field)?.Policy ?? FieldPolicy.RosterWins) switch
        {
            // Every patron has a status, so that there is nothing to fill. An earlier version took it all the same.
            FieldPolicy.FillIfEmpty when field == PatronFields.Status => FieldPolicy.LibraryKeeps,
            var policy => policy,
        };

    /// <summary>Whether a new patron gets the roster's value. What the library keeps is never written, or every new person would bring what it
    /// leaves out on purpose; without a last name there is no patron.</summary>
    public bool IsForNewPatrons(int field) => field == PatronFields.LastName || PolicyOf(field) != FieldPolicy.LibraryKeeps;

    /// <summary>Contacts follow the roster when they are blank there; other fields keep what the library has.</summary>
    public BlankRule BlankOf(int field) =>
        Rules.GetValueOrDefault(field)?.Blank
        ?? (field is PatronFields.AdditionalContact or PatronFields.OtherEmails ? BlankRule.Clear : BlankRule.Keep);
}
